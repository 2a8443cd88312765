"""Audio to mono at one sample rate by libswresample, as ffmpeg's command line does (`-ac 1 -ar RATE`)."""

from __future__ import annotations

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from synesthesia.data.media.container import Track, check_audio_format
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, error_message
from synesthesia.data.media.frames import decode_packets

RESAMPLE_MARGIN = 0.1  # s decoded past the clip; more than the look-ahead of the resampling filter


def decode_audio(track: Track, sample_rate: int, seconds: float) -> np.ndarray:
    """Decode and resample an audio track.

    Gaps between timestamps are closed, as on the command line.

    Args:
        track: Packets of the clip.
        sample_rate: Output rate in Hz.
        seconds: Length of the clip.

    Returns:
        int16 (samples,), mono: all audio of the clip and at most `RESAMPLE_MARGIN` plus one frame more.

    Raises:
        MediaError: The audio cannot be resampled ("undecodable"), or has too many channels or too high a rate
            ("too large").
    """
    outputs: list[np.ndarray] = []
    same_format: list[np.ndarray] = []
    audio_format, decoded_seconds = None, 0.0
    for frame in decode_packets(track.packets, track.stream):
        assert isinstance(frame, AudioFrame)
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != audio_format:  # a stream may change its rate or channels
            check_audio_format(frame.layout.nb_channels, frame.sample_rate)
            outputs += _resample(same_format, audio_format, sample_rate)
            same_format, audio_format = [], frame_format
        same_format.append(frame.to_ndarray())
        decoded_seconds += frame.samples / frame.sample_rate
        if decoded_seconds >= seconds + RESAMPLE_MARGIN:
            break
    outputs += _resample(same_format, audio_format, sample_rate)
    return np.concatenate(outputs) if outputs else np.zeros(0, np.int16)


def _resample(
    samples: list[np.ndarray], audio_format: tuple[str, str, int] | None, sample_rate: int
) -> list[np.ndarray]:
    """Resample frames of one format as a single frame: one call per frame (430 of them) would dominate the time."""
    if not samples or audio_format is None:
        return []
    name, layout, input_rate = audio_format
    try:
        frame = AudioFrame.from_ndarray(np.concatenate(samples, 1), format=name, layout=layout)
        frame.sample_rate = input_rate
        resampler = AudioResampler("s16", "mono", sample_rate)
        resampled = [*resampler.resample(frame), *resampler.resample(None)]
    except LIBAV_ERRORS as error:
        raise MediaError("undecodable", f"audio as {name}, {layout}, {input_rate} Hz: {error_message(error)}") from None
    return [frame.to_ndarray()[0] for frame in resampled if frame is not None]
