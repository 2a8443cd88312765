"""Open a file that may be hostile and read the packets of its clip; nothing is decoded here.

What a file can make us do is bounded before a decoder sees it: only containers that hold their own media are opened (a
playlist would read other files), a picture has at most `LARGEST_PICTURE` pixels, and a stream at most `MOST_PACKETS`
packets of `MOST_BYTES` in the clip's time. Time, memory and a decoder that crashes are the worker's (workers.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av

from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError

# libavformat's names. Sound files and pictures are opened too, to be told what they lack.
CONTAINER_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "live_flv", "asf", "ogg", "rm", "nut", "mxf"),
    *("wtv", "dv", "gxf", "swf", "ivf", "h264", "hevc", "av1", "obu", "m4v"),
    *("mp3", "wav", "flac", "aac", "ac3", "aiff", "w64", "caf", "amr"),
    *("gif", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "apng"),
)
MAX_FRAME_PIXELS = 8192 * 4320  # pixels
MAX_CHANNELS = 24  # 22.2, the most that has a layout of its own
MAX_SAMPLE_RATE = 768_000  # Hz
MAX_PACKETS = 100_000  # ten seconds of 1,000 pictures a second, or of Opus in 2.5 ms packets, have a tenth of it
MAX_STREAM_BYTES = 1 << 30  # ten seconds of uncompressed 720p are 0.4 GB
TIME_TOLERANCE = 1e-6  # s
MAX_INTERLEAVE_LAG = 30.0  # s, by how much one stream may lag behind the other in the file


@dataclass
class Track:
    """A stream's packets of the clip's time in file order; the file's start and the stream's end, in seconds.

    `end` counts from `start`. It is where the last packet of the clip's time ends, whether or not it can be decoded.
    """

    stream: av.stream.Stream
    start: float
    packets: list[av.Packet] = field(default_factory=list)
    end: float = 0.0


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """The file as a container. `file:` keeps a name with a colon from being taken for an address."""
    options = {
        "format_whitelist": ",".join(CONTAINER_FORMATS),
        "protocol_whitelist": "file",
        "max_pixels": str(MAX_FRAME_PIXELS),  # libavformat decodes a first picture to learn the stream's properties
    }
    with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
        yield container


def read_packets(container: av.container.InputContainer, seconds: float) -> tuple[Track, Track]:
    """The packets of [0, seconds) of the best video and audio stream; MediaError where one of them is missing."""
    start = container.start_time / av.time_base if container.start_time else 0.0
    video, audio = (Track(_select_stream(container, kind), start) for kind in ("video", "audio"))
    try:
        _demux(container, (video, audio), seconds)
    except LIBAV_ERRORS:
        if not (video.packets and audio.packets):
            raise
    return video, audio


def check_duration(track: Track, has: float, shortest: float) -> None:
    """Raise MediaError where `has` seconds are too few: "truncated" where the file announces enough of them."""
    if has >= shortest:
        return
    stream = track.stream
    whole = (stream.container.duration or 0) / av.time_base
    announced = float(stream.duration * stream.time_base) if stream.duration else whole
    if announced >= shortest:
        raise MediaError("truncated", f"{stream.type} for {has:.1f} s of the {announced:.1f} s that the file announces")
    raise MediaError("too short", f"{stream.type} for {has:.1f} s, {shortest:g} s are needed")


def _select_stream(container: av.container.InputContainer, media_type: str) -> av.stream.Stream:
    stream = container.streams.best(media_type)
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise MediaError(f"no {media_type} stream", f"none of its {len(container.streams)} streams is {media_type}")
    context = stream.codec_context
    if context is None:
        raise MediaError("undecodable", f"{media_type} of a codec that libav does not know")
    context.thread_type, context.thread_count = "NONE", 1  # files are decoded side by side instead
    if media_type == "video":
        if context.width * context.height > MAX_FRAME_PIXELS:
            raise MediaError("too large", f"pictures of {context.width} x {context.height} pixels")
        context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # a stream may change its size on the way
    else:
        check_audio_format(context.layout.nb_channels, context.sample_rate or 0)
    return stream


def check_audio_format(channels: int, sample_rate: int) -> None:
    """Raise MediaError for sound of more channels or samples than anybody records."""
    if channels > MAX_CHANNELS or sample_rate > MAX_SAMPLE_RATE:
        raise MediaError("too large", f"sound of {channels} channels at {sample_rate} Hz")


def _demux(container: av.container.InputContainer, tracks: tuple[Track, Track], seconds: float) -> None:
    by_index = {track.stream.index: track for track in tracks}
    reading = set(by_index)
    sizes = dict.fromkeys(by_index, 0)
    bases = {index: float(track.stream.time_base) for index, track in by_index.items()}
    for packet in container.demux(*(track.stream for track in tracks)):
        index, size = packet.stream_index, packet.size
        if not size:
            continue
        track, base, dts, stamp = by_index[index], bases[index], packet.dts, packet.pts
        late = dts * base - track.start - seconds if dts is not None else -1.0
        if index in reading:
            track.packets.append(packet)
            stamp = dts if stamp is None else stamp
            if stamp is not None:
                track.end = max(track.end, (stamp + (packet.duration or 0)) * base - track.start)
            sizes[index] += size
            if len(track.packets) > MAX_PACKETS or sizes[index] > MAX_STREAM_BYTES:
                raise MediaError(
                    "too large",
                    f"{track.stream.type} of more than {len(track.packets) - 1} packets, {sizes[index]} bytes, "
                    f"in {seconds:g} s",
                )
            if late >= -TIME_TOLERANCE:
                reading.discard(index)
        if not reading or late > MAX_INTERLEAVE_LAG:
            return
