"""One pass over a media file: 16 kHz mono sound and one frame a second, or a short reason why not (section 3.1).

The clip is [0, seconds) counted from the file's own start time. Sound: the file's best audio stream through
libswresample to mono, exactly `rate * seconds` samples, cut or padded with silence at the end. Pictures: for
k = 0, 1, ... the first frame that is shown at or after k / frames_per_second (less `EPSILON`); where the pictures end
earlier than the clip, the last one stands in. On the command line this is

    ffmpeg -i FILE -t 10 -ac 1 -ar 16000 a.wav
           -t 10 -vf "select='gte(t+1e-3, selected_n)',scale=W:H" -fps_mode passthrough %02d.jpg

Most of the time goes into frames that nobody wants. All packets are read first, so the chosen stamps are known before
anything is decoded; H.264 packets that were not chosen and that no frame refers to are then dropped, and decoding ends
with the last chosen frame: the same pictures to the bit. Where stamps are missing, or a chosen frame does not come out,
every frame is decoded.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

EPSILON = 1e-3  # s; time bases of 1/1000 round frame times by up to half of this
MEDIA_ERRORS = (av.FFmpegError, ValueError, EOFError)


class MediaError(Exception):
    """A file that gives no clip: `reason` is one of a dozen short classes, `detail` what was found."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Clip:
    """What the study keeps of a file: int16 (samples,), JPEGs in order of time, and the pictures' (width, height)."""

    audio: np.ndarray
    jpegs: list[bytes]
    size: tuple[int, int]


@dataclass(frozen=True)
class Packets:
    """A stream's packets of the clip's time in file order; the container's start and the stream's end (seconds)."""

    stream: av.stream.Stream
    packets: list[av.Packet]
    start: float
    end: float


def decode(
    path: str | os.PathLike,
    *,
    rate: int,
    seconds: float,
    shortest_seconds: float,
    frames_per_second: float,
    largest_pixels: int,
    jpeg_quality: int,
) -> Clip:
    """Decode a file of any container; raise MediaError for any file that does not hold a whole clip.

    Reasons: "absent", "empty file", "not a media file", "no audio stream", "no video stream", "too short" (the file
    is as short as it says), "truncated" (it announces more than it holds), "undecodable".
    """
    path = Path(path)
    _refuse_empty(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            video, audio = _read(container, seconds)
            sound = _sound(audio, rate, seconds)
            _refuse_short(video, video.end, shortest_seconds)
            _refuse_short(audio, len(sound) / rate, shortest_seconds)
            targets = [k / frames_per_second for k in range(round(seconds * frames_per_second))]
            frames = _chosen_frames(video, targets, seconds)
            size = fit(*_shown_size(video.stream, frames[0]), largest_pixels)
            jpegs = _pictures(frames, size, jpeg_quality)
    except MEDIA_ERRORS as error:
        raise _refusal(path, error) from None
    samples = round(rate * seconds)
    return Clip(np.pad(sound[:samples], (0, max(0, samples - len(sound)))), jpegs, size)


def fit(width: int, height: int, largest_pixels: int) -> tuple[int, int]:
    """Even width and height of at most `largest_pixels` and the same aspect ratio; never larger than it is."""
    scale = min(1.0, (largest_pixels / (width * height)) ** 0.5)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def _refuse_empty(path: Path) -> None:
    if not path.exists():
        raise MediaError("absent", "there is no such file")
    if not path.is_file():
        raise MediaError("not a media file", "not a plain file")
    if not path.stat().st_size:
        raise MediaError("empty file", "0 bytes")


def _refusal(path: Path, error: Exception) -> MediaError:
    """The MediaError for what libav says while a file is opened or read."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO):
        return MediaError("unreadable", os.strerror(error.errno))
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    with open(path, "rb") as file:
        head = file.read(12)
    begun = head[4:8] in (b"ftyp", b"moov", b"mdat") or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF")
    return MediaError("truncated" if begun else "not a media file", f"libav: {said}")


def _read(container, seconds: float) -> tuple[Packets, Packets]:
    """The packets of [0, seconds) of the best video and audio stream; nothing is decoded yet."""
    video, audio = container.streams.best("video"), container.streams.best("audio")
    for what, stream in (("video", video), ("audio", audio)):
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            raise MediaError(f"no {what} stream", f"none of its {len(container.streams)} streams is {what}")
        if stream.codec_context is None:
            raise MediaError("undecodable", f"{what} of a codec that libav does not know")
        stream.codec_context.thread_type = "NONE"  # other threads would begin packets that are to be dropped
    start = container.start_time / av.time_base if container.start_time else 0.0
    kept: dict[int, list[av.Packet]] = {video.index: [], audio.index: []}
    ends = dict.fromkeys(kept, 0.0)
    open_streams = set(kept)
    try:
        for packet in container.demux(video, audio):
            index = packet.stream_index
            if packet.size == 0 or index not in open_streams:
                continue
            kept[index].append(packet)
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                ends[index] = max(ends[index], float((stamp + (packet.duration or 0)) * packet.time_base) - start)
            if packet.dts is not None and float(packet.dts * packet.time_base) - start >= seconds:
                open_streams.discard(index)
                if not open_streams:
                    break
    except MEDIA_ERRORS:
        if not all(kept.values()):
            raise
    return tuple(Packets(s, kept[s.index], start, ends[s.index]) for s in (video, audio))


def _refuse_short(packets: Packets, has: float, shortest: float) -> None:
    if has >= shortest:
        return
    stream = packets.stream
    whole = (stream.container.duration or 0) / av.time_base
    announced = float(stream.duration * stream.time_base) if stream.duration else whole
    if announced >= shortest:
        raise MediaError("truncated", f"{stream.type} for {has:.1f} s of the {announced:.1f} s that the file announces")
    raise MediaError("too short", f"{stream.type} for {has:.1f} s, {shortest:g} s are needed")


def _decoded(packets: Iterable[av.Packet], stream) -> Iterable:
    """Frames of some packets; a packet that cannot be decoded is passed over, as on the command line."""
    for packet in [*packets, None]:
        try:
            yield from stream.codec_context.decode(packet)
        except MEDIA_ERRORS:
            continue


def _sound(audio: Packets, rate: int, seconds: float) -> np.ndarray:
    """Mono int16 at `rate`: all there is, up to a little more than `seconds`."""
    pieces: list[np.ndarray] = []
    resampler, form, have = None, None, 0
    for frame in _decoded(audio.packets, audio.stream):
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != form:  # a stream may change its rate or channels on the way
            pieces += _drained(resampler)
            resampler, form = AudioResampler("s16", "mono", rate), now
        frame.pts = None  # gaps are closed as the command line does
        for piece in resampler.resample(frame):
            pieces.append(piece.to_ndarray()[0])
            have += piece.samples
        if have >= rate * seconds:
            break
    pieces += _drained(resampler)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def _drained(resampler: AudioResampler | None) -> list[np.ndarray]:
    return [piece.to_ndarray()[0] for piece in resampler.resample(None)] if resampler else []


def _chosen_frames(video: Packets, targets: list[float], seconds: float) -> list[av.VideoFrame]:
    """The frame for each target time, by the shortest way that gives exactly these."""
    wanted = _wanted_stamps(video, targets, seconds)
    if wanted:
        by_stamp = _decode_only(video, set(wanted))
        if by_stamp is not None:
            return [by_stamp[stamp] for stamp in wanted]
        video.stream.codec_context.flush_buffers()
    return _choose(_timed(_decoded(video.packets, video.stream), video.stream), targets, seconds, video.start)


def _wanted_stamps(video: Packets, targets: list[float], seconds: float) -> list[int] | None:
    """The time stamp chosen for each target, read off the packets; None where they do not tell."""
    if video.stream.container.format.name == "avi" or any(p.pts is None for p in video.packets):
        return None  # AVI has no presentation times: what libav makes up for B-frames is wrong
    stamps = sorted(p.pts for p in video.packets if not p.is_discard)
    times = np.array(stamps, np.float64) * float(video.stream.time_base) - video.start
    inside = int(np.searchsorted(times, seconds - EPSILON))
    if not inside or len(set(stamps)) < len(stamps):
        return None
    first = np.searchsorted(times[:inside], np.array(targets) - EPSILON)
    return [stamps[min(int(index), inside - 1)] for index in first]


def _decode_only(video: Packets, wanted: set[int]) -> dict[int, av.VideoFrame] | None:
    """The frames of the wanted stamps, or None where one of them did not come out."""
    context, missing, found = video.stream.codec_context, set(wanted), {}
    skips = context.name == "h264"
    for packet in [*video.packets, None]:
        if skips and packet is not None:
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        try:
            frames = context.decode(packet)
        except MEDIA_ERRORS:
            break
        for frame in frames:
            if frame.pts in missing and not frame.is_corrupt:
                found[frame.pts] = frame
                missing.discard(frame.pts)
        if not missing:
            return found
    context.skip_frame = "DEFAULT"
    return None


def _timed(frames: Iterable[av.VideoFrame], stream) -> Iterable[tuple[float, av.VideoFrame]]:
    """Each frame with its second, by libav's own rule for the better of its two stamps (best_effort_timestamp)."""
    last_pts, last_dts, wrong_pts, wrong_dts = -(2**63), -(2**63), 0, 0
    for number, frame in enumerate(frames):
        pts, dts = frame.pts, frame.dts
        wrong_dts += dts is not None and dts <= last_dts
        wrong_pts += pts is not None and pts <= last_pts
        last_dts = next((t for t in (dts, pts) if t is not None), last_dts)
        last_pts = next((t for t in (pts, dts) if t is not None), last_pts)
        stamp = pts if pts is not None and (wrong_pts <= wrong_dts or dts is None) else dts
        time = number / float(stream.guessed_rate or 25) if stamp is None else float(stamp * stream.time_base)
        yield time, frame


def _choose(frames: Iterable[tuple[float, av.VideoFrame]], targets: list[float], seconds: float, start: float):
    """The rule itself, over all decoded frames in the order in which they come."""
    chosen: list[av.VideoFrame] = []
    last = None
    for stamp, frame in frames:
        time = stamp - start
        if time < -EPSILON:
            continue
        if time >= seconds - EPSILON:
            break
        last = frame
        while len(chosen) < len(targets) and time >= targets[len(chosen)] - EPSILON:
            chosen.append(frame)
    if last is None:
        raise MediaError("undecodable", "not one frame")
    return chosen + [last] * (len(targets) - len(chosen))


def _shown_size(stream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height as a player shows them: square pixels, turned upright."""
    ratio = float(stream.sample_aspect_ratio or 1)
    width = round(frame.width * (ratio if 0.1 < ratio < 10 else 1))
    return (frame.height, width) if frame.rotation % 180 else (width, frame.height)


def _pictures(frames: list[av.VideoFrame], size: tuple[int, int], quality: int) -> list[bytes]:
    """JPEGs of `size`; a frame that stands for several seconds is encoded once."""
    made: dict[int, bytes] = {}
    reformatter = VideoReformatter()
    for frame in frames:
        if id(frame) in made:
            continue
        turn = frame.rotation % 360
        width, height = size[::-1] if turn % 180 else size
        rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC)
        picture = Image.fromarray(rgb.to_ndarray())
        if turn:
            picture = picture.rotate(turn, expand=True)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        made[id(frame)] = buffer.getvalue()
    return [made[id(frame)] for frame in frames]
