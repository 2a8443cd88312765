"""The frame for each target time, decoding as little as possible.

For each target, the frame is the first one displayed at or after it (minus `EPSILON`); past the end of the video, the
last frame repeats. All packets are read first, so the timestamps of the selected frames are known before decoding, and
only the packets they depend on are decoded (frame_dependencies.py). If timestamps are missing, or a selected frame is
not decoded, every frame is decoded and the same rule is applied to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from typing import cast

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.frame import Frame
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from synesthesia.data.media import channels
from synesthesia.data.media.container import Track
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError
from synesthesia.data.media.frame_dependencies import find_required_packets, parse_packet_infos

EPSILON = 1e-3  # s; time bases of 1/1000 round frame times by up to half of this


def select_frames(video: Track, target_times: list[float], seconds: float) -> list[VideoFrame]:
    """Decode one frame per target time.

    Args:
        video: Packets of the clip.
        target_times: Seconds from the start of the file, increasing.
        seconds: Length of the clip.

    Returns:
        One frame per target.

    Raises:
        MediaError: No frame can be decoded ("undecodable").
    """
    timestamps = select_timestamps(video, target_times, seconds)
    stream = cast(VideoStream, video.stream)
    if timestamps:
        by_timestamp = _decode_selected(video, set(timestamps))
        if by_timestamp is not None:
            return [by_timestamp[timestamp] for timestamp in timestamps]
        stream.codec_context.flush_buffers()
    frames = cast(Iterator[VideoFrame], decode_packets(video.packets, stream))
    return _select_by_time(_add_times(frames, stream), target_times, seconds, video.start)


def decode_packets(
    packets: Iterable[Packet], stream: Stream, on_failure: Callable[[Packet], object] = lambda _: None
) -> Iterator[Frame]:
    """Decode packets, skipping those that fail, as ffmpeg's command line does.

    Args:
        packets: Packets in decoding order.
        stream: Their stream.
        on_failure: Called with each packet that fails.

    Yields:
        Frames in output order.
    """
    context = cast(VideoCodecContext | AudioCodecContext, stream.codec_context)
    for packet in [*packets, None]:
        try:
            frames = context.decode(packet)
        except LIBAV_ERRORS:
            if packet is not None:
                on_failure(packet)
            continue
        for frame in frames:
            if isinstance(frame, AudioFrame):
                channels.layout_of(frame)
        yield from frames


def select_timestamps(video: Track, target_times: list[float], seconds: float) -> list[int] | None:
    """Find the timestamp of each target's frame from the packets alone.

    Args:
        video: Packets of the clip.
        target_times: Seconds from the start of the file, increasing.
        seconds: Length of the clip.

    Returns:
        One presentation timestamp per target, or None if the packets do not determine them.
    """
    stream = video.stream
    timestamps = [packet.pts for packet in video.packets if not packet.is_discard]
    if stream.container.format.name == "avi" or any(packet.pts is None for packet in video.packets):
        return None  # AVI has no presentation timestamps, and libav's guesses are wrong for B-frames
    timestamps = sorted(cast(list[int], timestamps))
    times = np.array(timestamps, np.float64) * float(stream.time_base or 0) - video.start
    num_inside = int(np.searchsorted(times, seconds - EPSILON))
    if not num_inside or len(set(timestamps)) < len(timestamps):
        return None
    indices = np.searchsorted(times[:num_inside], np.array(target_times) - EPSILON)
    return [timestamps[min(int(index), num_inside - 1)] for index in indices]


def select_packets(video: Track, timestamps: set[int]) -> list[Packet]:
    """Select the packets that the frames at `timestamps` depend on.

    Args:
        video: Packets of the clip.
        timestamps: Presentation timestamps of the selected frames.

    Returns:
        A subset of the packets, in decoding order.
    """
    context = cast(VideoCodecContext, video.stream.codec_context)
    if any(packet.has_sidedata("new_extradata") for packet in video.packets):
        return video.packets  # the decoder is reconfigured within the clip
    infos = parse_packet_infos(video.packets, context.name, context.extradata)
    required = find_required_packets(infos, [packet.pts in timestamps for packet in video.packets])
    return list(compress(video.packets, required))


def _decode_selected(video: Track, timestamps: set[int]) -> dict[int, VideoFrame] | None:
    """Decode the frames at `timestamps`, or return None if one of them fails."""
    context = cast(VideoCodecContext, video.stream.codec_context)
    missing: set[int] = set(timestamps)
    decoded: dict[int, VideoFrame] = {}
    for packet in [*select_packets(video, timestamps), None]:
        try:
            frames = context.decode(packet)
        except LIBAV_ERRORS:
            return None
        for frame in frames:
            if frame.pts in missing and not frame.is_corrupt:
                decoded[frame.pts] = frame
                missing.discard(frame.pts)
        if not missing:
            return decoded
    return None


def _add_times(frames: Iterable[VideoFrame], stream: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    """Yield each frame with its time in seconds, by libav's rule for the better timestamp (best_effort_timestamp)."""
    last_pts, last_dts, num_faulty_pts, num_faulty_dts = -(2**63), -(2**63), 0, 0
    for index, frame in enumerate(frames):
        pts, dts = frame.pts, frame.dts
        num_faulty_dts += dts is not None and dts <= last_dts
        num_faulty_pts += pts is not None and pts <= last_pts
        last_dts = next((t for t in (dts, pts) if t is not None), last_dts)
        last_pts = next((t for t in (pts, dts) if t is not None), last_pts)
        timestamp = pts if pts is not None and (num_faulty_pts <= num_faulty_dts or dts is None) else dts
        if timestamp is None:
            yield index / float(stream.guessed_rate or 25), frame
        else:
            yield float(timestamp * (stream.time_base or 0)), frame


def _select_by_time(
    frames: Iterable[tuple[float, VideoFrame]], target_times: list[float], seconds: float, start: float
) -> list[VideoFrame]:
    """Apply the selection rule to decoded frames, in output order."""
    selected: list[VideoFrame] = []
    last = None
    for absolute_time, frame in frames:
        time = absolute_time - start
        if time < -EPSILON:
            continue
        if time >= seconds - EPSILON:
            break
        last = frame
        while len(selected) < len(target_times) and time >= target_times[len(selected)] - EPSILON:
            selected.append(frame)
    if last is None:
        raise MediaError("undecodable", "no frame can be decoded")
    return selected + [last] * (len(target_times) - len(selected))
