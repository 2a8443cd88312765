"""The frame for each chosen time, by the shortest way that gives exactly these.

For each target the frame is the first one shown at or after it (less `EPSILON`); where the pictures end earlier, the
last one stands in. All packets were read before, so the time stamps of the chosen frames are known before anything is
decoded, and only what they need is (needed.py). Where stamps are missing, or a chosen frame does not come out, every
frame is decoded and the rule is applied to what comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress

import av
import numpy as np

from synesthesia.data.media.container import Track
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError
from synesthesia.data.media.frame_dependencies import find_required_packets, parse_packet_infos

EPSILON = 1e-3  # s; time bases of 1/1000 round frame times by up to half of this


def select_frames(video: Track, target_times: list[float], seconds: float) -> list[av.VideoFrame]:
    """One frame a target (seconds from the file's start, rising); MediaError "undecodable" where there is none."""
    wanted = select_timestamps(video, target_times, seconds)
    if wanted:
        by_stamp = _decode_selected(video, set(wanted))
        if by_stamp is not None:
            return [by_stamp[stamp] for stamp in wanted]
        video.stream.codec_context.flush_buffers()
    return _select_by_time(
        _add_times(decode_packets(video.packets, video.stream), video.stream), target_times, seconds, video.start
    )


def decode_packets(packets: Iterable[av.Packet], stream: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """Frames of some packets; a packet that cannot be decoded is passed over, as on the command line."""
    for packet in [*packets, None]:
        try:
            yield from stream.codec_context.decode(packet)
        except LIBAV_ERRORS:
            continue


def select_timestamps(video: Track, target_times: list[float], seconds: float) -> list[int] | None:
    """The time stamp chosen for each target, read off the packets; None where they do not tell."""
    if video.stream.container.format.name == "avi" or any(p.pts is None for p in video.packets):
        return None  # AVI has no presentation times: what libav makes up for B-frames is wrong
    stamps = sorted(p.pts for p in video.packets if not p.is_discard)
    times = np.array(stamps, np.float64) * float(video.stream.time_base) - video.start
    inside = int(np.searchsorted(times, seconds - EPSILON))
    if not inside or len(set(stamps)) < len(stamps):
        return None
    first = np.searchsorted(times[:inside], np.array(target_times) - EPSILON)
    return [stamps[min(int(index), inside - 1)] for index in first]


def select_packets(video: Track, timestamps: set[int]) -> list[av.Packet]:
    """The packets that the frames of the wanted stamps need."""
    context = video.stream.codec_context
    if any(packet.has_sidedata("new_extradata") for packet in video.packets):
        return video.packets  # the decoder is set up anew on the way
    each = parse_packet_infos(video.packets, context.name, context.extradata)
    return list(
        compress(video.packets, find_required_packets(each, [packet.pts in timestamps for packet in video.packets]))
    )


def _decode_selected(video: Track, timestamps: set[int]) -> dict[int, av.VideoFrame] | None:
    """The frames of the wanted stamps, or None where one of them did not come out."""
    missing, found = set(timestamps), {}
    for packet in [*select_packets(video, timestamps), None]:
        try:
            frames = video.stream.codec_context.decode(packet)
        except LIBAV_ERRORS:
            return None
        for frame in frames:
            if frame.pts in missing and not frame.is_corrupt:
                found[frame.pts] = frame
                missing.discard(frame.pts)
        if not missing:
            return found
    return None


def _add_times(frames: Iterable[av.VideoFrame], stream: av.VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
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


def _select_by_time(
    frames: Iterable[tuple[float, av.VideoFrame]], target_times: list[float], seconds: float, start: float
) -> list[av.VideoFrame]:
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
        while len(chosen) < len(target_times) and time >= target_times[len(chosen)] - EPSILON:
            chosen.append(frame)
    if last is None:
        raise MediaError("undecodable", "not one frame")
    return chosen + [last] * (len(target_times) - len(chosen))
