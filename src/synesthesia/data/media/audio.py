"""Audio to mono at one sample rate by libswresample, as ffmpeg's command line does (`-ac 1 -ar RATE`).

Sound that begins late or pauses keeps its place: silence fills what the timestamps leave out, as `-af
aresample=async=1:min_hard_comp=0.1` does. Shorter gaps are rounded timestamps, and are closed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet

from synesthesia.data.media import channels
from synesthesia.data.media.container import Track, check_audio_format
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, error_message
from synesthesia.data.media.frames import decode_packets

RESAMPLE_MARGIN = 0.1  # s decoded past the clip; more than the look-ahead of the resampling filter
MAX_DRIFT = 0.1  # s by which timestamps and samples may differ


class _AudioFormat(NamedTuple):
    sample_format: str
    layout: str
    sample_rate: int
    channel_names: tuple[str, ...]


@dataclass
class _Run:
    """Frames of one format without a gap; `start` is in seconds, None if it continues the run before."""

    audio_format: _AudioFormat
    start: float | None
    frames: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class DecodedAudio:
    """Sound of a clip.

    Attributes:
        samples: int16 (samples,), mono, from the start of the file.
        seconds: How far the sound reaches, pauses included, packets that cannot be decoded excluded.
        frame_seconds: Length of the longest frame.
    """

    samples: np.ndarray
    seconds: float
    frame_seconds: float


def decode_audio(track: Track, sample_rate: int, seconds: float) -> DecodedAudio:
    """Decode and resample an audio track.

    Args:
        track: Packets of the clip.
        sample_rate: Output rate in Hz.
        seconds: Length of the clip.

    Returns:
        All audio of the clip and at most `RESAMPLE_MARGIN` plus one frame more.

    Raises:
        MediaError: The audio cannot be resampled ("undecodable"), has too many channels or too high a rate ("too
            large"), or begins after the clip's end ("too short").
    """
    time_base = float(track.stream.time_base or 0)
    lost_packets: list[Packet] = []
    runs: list[_Run] = []
    position = offset = frame_seconds = 0.0  # of the next frame, in the clip; of its timestamp from there
    for frame in decode_packets(track.packets, track.stream, lost_packets.append):
        assert isinstance(frame, AudioFrame)
        audio_format = _read_format(frame)
        time = position + offset if frame.pts is None else frame.pts * time_base - track.start
        drift = time - position - offset
        has_gap = drift > MAX_DRIFT
        if has_gap:
            position, offset = time, 0.0
        elif not runs or drift < -MAX_DRIFT:  # the timestamps begin anew
            offset = time - position
        if position >= seconds + RESAMPLE_MARGIN:
            break
        if not runs or has_gap or audio_format != runs[-1].audio_format:  # a stream may change its rate or channels
            runs.append(_Run(audio_format, position if has_gap else None))
        runs[-1].frames.append(channels.read_samples(frame))
        frame_seconds = max(frame_seconds, frame.samples / frame.sample_rate)
        position += frame.samples / frame.sample_rate
    if not runs:
        _check_start(track, position, seconds)
    samples = np.zeros(0, np.int16)
    for run in runs:
        num_silent = 0 if run.start is None else max(0, round(run.start * sample_rate) - len(samples))
        samples = np.concatenate([samples, np.zeros(num_silent, np.int16), *_resample(run, sample_rate)])
    lost_times = [(packet.pts or 0) * time_base - track.start for packet in lost_packets]
    lost_before_end = [time < position for time in lost_times]
    lost_seconds = sum(packet.duration or 0 for packet in compress(lost_packets, lost_before_end)) * time_base
    return DecodedAudio(samples, max(0.0, position - lost_seconds), frame_seconds)


def _check_start(track: Track, position: float, seconds: float) -> None:
    times = [packet.pts * float(track.stream.time_base or 0) for packet in track.packets if packet.pts is not None]
    start = max(position, min(times) - track.start if times else 0.0)
    if start >= seconds - MAX_DRIFT:
        raise MediaError("too short", f"audio begins at {start:.1f} s, the clip ends at {seconds:g} s")


def _read_format(frame: AudioFrame) -> _AudioFormat:
    layout = frame.layout
    check_audio_format(layout.nb_channels, frame.sample_rate)
    names = tuple(channel.name for channel in layout.channels)
    return _AudioFormat(frame.format.name, layout.name, frame.sample_rate, names)


def _resample(run: _Run, sample_rate: int) -> list[np.ndarray]:
    """Resample a run as a single frame: one call per frame (430 of them) would dominate the time."""
    sample_format, layout, input_rate, names = run.audio_format
    message = "it has no channels"
    for form in channels.iter_mixable_forms(np.concatenate(run.frames, 1), sample_format, layout, names):
        try:
            samples, form_format, form_layout = form
            frame = AudioFrame.from_ndarray(samples, format=form_format, layout=form_layout)
            frame.sample_rate = input_rate
            resampler = AudioResampler("s16", "mono", sample_rate)
            resampled = [*resampler.resample(frame), *resampler.resample(None)]
        except LIBAV_ERRORS as error:
            message = error_message(error)
            continue
        return [frame.to_ndarray()[0] for frame in resampled if frame is not None]
    raise MediaError("undecodable", f"audio as {sample_format}, {layout}, {input_rate} Hz: {message}")
