"""Open an untrusted file and read the packets of its clip; no decoding here.

Limits apply before a decoder sees the file: only containers that hold their own media are opened (a playlist would read
other files), a frame has at most `MAX_FRAME_PIXELS` pixels, and a stream at most `MAX_PACKETS` packets of
`MAX_STREAM_BYTES` in total within the clip. The sandboxed pool (`utils/sandboxed_pool.py`) limits time and memory, and
survives decoder crashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext

from synesthesia.data.media.channels import layout_of
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError

# libavformat's names. Audio files and images are opened too, so that the reason can name the missing stream.
CONTAINER_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "live_flv", "asf", "ogg", "rm", "nut", "mxf"),
    *("wtv", "dv", "gxf", "swf", "ivf", "h264", "hevc", "av1", "obu", "m4v"),
    *("mp3", "wav", "flac", "aac", "ac3", "aiff", "w64", "caf", "amr"),
    *("gif", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "apng"),
)
MAX_FRAME_PIXELS = 8192 * 4320  # pixels
MAX_CHANNELS = 24  # 22.2, the largest standard layout
MAX_SAMPLE_RATE = 768_000  # Hz
MAX_PACKETS = 100_000  # ten seconds at 1,000 frames per second, or of Opus in 2.5 ms packets, have a tenth of it
MAX_STREAM_BYTES = 1 << 30  # ten seconds of uncompressed 720p are 0.4 GB
TIME_TOLERANCE = 1e-6  # s
MAX_AUDIO_FRAME = 0.1  # s; uncompressed sound has packets of any length
MAX_JUMP, MAX_JUMP_BACK = 10.0, 0.1  # s; timestamps that jump further in a transport stream begin anew, as in ffmpeg
MAX_STREAM_OFFSET = 1.0  # s by which one stream may end before the other where they jump
MAX_INTERLEAVE_LAG = 30.0  # s by which one stream may lag behind the other in the file


@dataclass
class Track:
    """Packets of one stream within the clip.

    Attributes:
        stream: The stream.
        start: Start of the file, in seconds.
        packets: Packets in file order.
        end: End of the last packet, in seconds from `start`, whether or not the packet can be decoded.
    """

    stream: Stream
    start: float
    packets: list[Packet] = field(default_factory=list)
    end: float = 0.0


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a media file.

    Args:
        path: The file. The prefix `file:` keeps libav from parsing a name with a colon as a URL.

    Yields:
        The container.
    """
    options = {
        "format_whitelist": ",".join(CONTAINER_FORMATS),
        "protocol_whitelist": "file",
        "max_pixels": str(MAX_FRAME_PIXELS),  # libavformat decodes one frame to probe the stream's properties
    }
    with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
        yield container


def read_packets(container: InputContainer, seconds: float) -> tuple[Track, Track]:
    """Read the packets in [0, seconds) of the best video stream and the best audio stream.

    Args:
        container: The open file.
        seconds: Length of the clip.

    Returns:
        Video track and audio track.

    Raises:
        MediaError: A stream is missing, too large, encrypted, or of an unknown codec.
    """
    start = container.start_time / av.time_base if container.start_time else 0.0
    video = Track(_select_stream(container, "video"), start)
    audio = Track(_select_stream(container, "audio"), start)
    try:
        _demux(container, (video, audio), seconds)
    except LIBAV_ERRORS:
        if not (video.packets and audio.packets):
            raise
    return video, audio


def check_durations(video: Track, audio: Track, audio_seconds: float, frame_seconds: float, min_seconds: float) -> None:
    """Reject a file whose pictures or sound end too early; one frame may be missing.

    A single picture stays on screen, and so does each picture of a slide show: as long as the one before it.

    Args:
        video: The video track.
        audio: The audio track.
        audio_seconds: How far the sound reaches.
        frame_seconds: Length of a frame of the sound.
        min_seconds: Required seconds.

    Raises:
        MediaError: "truncated" if the file declares more than it holds, else "too short".
    """
    ends = max(video.end, audio.end)
    if not _is_still(video):
        _check_duration(video, video.end, _frame_interval(video), ends, min_seconds)
    _check_duration(audio, audio_seconds, min(frame_seconds, MAX_AUDIO_FRAME), ends, min_seconds)


def _is_still(video: Track) -> bool:
    return len([packet for packet in video.packets if not packet.is_discard]) == 1 and video.stream.frames <= 1


def _frame_interval(video: Track) -> float:
    """Return the median distance of two pictures in seconds, 0 if unknown."""
    times = sorted(packet.pts for packet in video.packets if packet.pts is not None and not packet.is_discard)
    return float(np.median(np.diff(times)) * float(video.stream.time_base or 0)) if len(times) > 1 else 0.0


def _check_duration(track: Track, duration: float, tolerance: float, file_end: float, min_seconds: float) -> None:
    if duration + tolerance + TIME_TOLERANCE >= min_seconds:
        return
    stream = track.stream
    assert isinstance(stream.container, InputContainer)
    if stream.duration and stream.time_base:
        declared = float(stream.duration * stream.time_base)
    else:  # only the length of the longest stream is known: if another one reaches it, this one is short by itself
        declared = (stream.container.duration or 0) / av.time_base
        declared = 0.0 if file_end >= min(declared, min_seconds) - TIME_TOLERANCE and declared else declared
    if declared >= min_seconds:
        raise MediaError("truncated", f"{stream.type} lasts {duration:.1f} s of the {declared:.1f} s the file declares")
    raise MediaError("too short", f"{stream.type} lasts {duration:.1f} s, the minimum is {min_seconds:g} s")


def _select_stream(container: InputContainer, media_type: Literal["video", "audio"]) -> Stream:
    stream = container.streams.best(media_type)
    if stream is not None and stream.disposition & Disposition.attached_pic:  # cover art may come first
        videos = (other for other in container.streams.video if not other.disposition & Disposition.attached_pic)
        stream = next(videos, None)
    if stream is None:
        raise MediaError(f"no {media_type} stream", f"none of its {len(container.streams)} streams is {media_type}")
    context = stream.codec_context
    if context is None:
        raise MediaError("undecodable", f"{media_type} of a codec unknown to libav")
    context.thread_type, context.thread_count = "NONE", 1  # parallelism is across files
    if isinstance(context, VideoCodecContext):
        if context.width * context.height > MAX_FRAME_PIXELS:
            raise MediaError("too large", f"frames of {context.width} x {context.height} pixels")
        context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # a stream may change its size later
    else:
        assert isinstance(context, AudioCodecContext)
        check_audio_format(layout_of(context).nb_channels, context.sample_rate or 0)
    return stream


def check_audio_format(channels: int, sample_rate: int) -> None:
    """Reject audio beyond any recording format.

    Args:
        channels: Number of channels.
        sample_rate: Rate in Hz.

    Raises:
        MediaError: "too large".
    """
    if channels > MAX_CHANNELS or sample_rate > MAX_SAMPLE_RATE:
        raise MediaError("too large", f"audio of {channels} channels at {sample_rate} Hz")


def _demux(container: InputContainer, tracks: tuple[Track, Track], seconds: float) -> None:
    by_index = {track.stream.index: track for track in tracks}
    unfinished = set(by_index)
    sizes = dict.fromkeys(by_index, 0)
    time_bases = {index: float(track.stream.time_base or 0) for index, track in by_index.items()}
    packets = container.demux(*(track.stream for track in tracks))
    for packet in _close_discontinuities(packets) if container.format.flags & Flags.ts_discont.value else packets:
        index, size = packet.stream_index, packet.size
        if not size:
            continue
        track, time_base, dts, timestamp = by_index[index], time_bases[index], packet.dts, packet.pts
        past_end = dts * time_base - track.start - seconds if dts is not None else -1.0
        if index in unfinished:
            track.packets.append(packet)
            if packet.has_sidedata("encryption_info"):
                raise MediaError("encrypted", f"{track.stream.type} is encrypted")
            timestamp = dts if timestamp is None else timestamp
            if timestamp is not None:
                track.end = max(track.end, (timestamp + (packet.duration or 0)) * time_base - track.start)
            sizes[index] += size
            if len(track.packets) > MAX_PACKETS or sizes[index] > MAX_STREAM_BYTES:
                raise MediaError(
                    "too large",
                    f"{track.stream.type} of more than {len(track.packets) - 1} packets, {sizes[index]} bytes, "
                    f"in {seconds:g} s",
                )
            if past_end >= -TIME_TOLERANCE:
                unfinished.discard(index)
        if not unfinished or past_end > MAX_INTERLEAVE_LAG:
            return


def _close_discontinuities(packets: Iterator[Packet]) -> Iterator[Packet]:
    """Shift the packets after a jump of the timestamps to where the packets before it end, as ffmpeg's command does.

    Streams jump one after the other. They are shifted alike, so that pictures and sound stay together.
    """
    last_shift = 0.0
    shifts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for packet in packets:
        index = packet.stream_index
        if packet.dts is not None and packet.time_base:
            time_base = float(packet.time_base)
            time = packet.dts * time_base
            end = ends.get(index, time)
            distance = time + shifts.get(index, 0.0) - end
            if abs(distance) > MAX_JUMP or distance < -MAX_JUMP_BACK:
                shift = end - time
                last_shift = last_shift if abs(shift - last_shift) < MAX_STREAM_OFFSET else shift
                shifts[index] = last_shift
            shift = shifts.get(index, 0.0)
            ends[index] = time + shift + (packet.duration or 0) * time_base
            packet.dts += round(shift / time_base)
            if packet.pts is not None:
                packet.pts += round(shift / time_base)
        yield packet
