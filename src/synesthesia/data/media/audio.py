"""Sound, to mono at one rate: libswresample, as on ffmpeg's command line (`-ac 1 -ar RATE`)."""

from __future__ import annotations

import av
import numpy as np
from av.audio.resampler import AudioResampler

from synesthesia.data.media.container import Track, check_audio_format
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, error_message
from synesthesia.data.media.frames import decode_packets

RESAMPLE_MARGIN = 0.1  # s of sound behind the clip, more than the resampling filter looks ahead


def decode_audio(track: Track, sample_rate: int, seconds: float) -> np.ndarray:
    """Mono int16 (samples,) at `rate`: all there is of the clip, and at most a little more than `seconds`.

    Gaps in the file's time stamps are closed, as the command line does. Raises MediaError for sound that cannot be
    mixed ("undecodable") or is too wide ("too large").
    """
    pieces: list[np.ndarray] = []
    alike: list[np.ndarray] = []
    form, have = None, 0.0
    for frame in decode_packets(track.packets, track.stream):
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != form:  # a stream may change its rate or channels on the way
            check_audio_format(frame.layout.nb_channels, frame.sample_rate)
            pieces += _resample(alike, form, sample_rate)
            alike, form = [], now
        alike.append(frame.to_ndarray())
        have += frame.samples / frame.sample_rate
        if have >= seconds + RESAMPLE_MARGIN:
            break
    pieces += _resample(alike, form, sample_rate)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def _resample(alike: list[np.ndarray], audio_format: tuple[str, str, int] | None, sample_rate: int) -> list[np.ndarray]:
    """Frames of one format, resampled as one: a call for each of 430 frames would take longer than the work."""
    if not alike:
        return []
    name, layout, own_rate = audio_format
    try:
        whole = av.AudioFrame.from_ndarray(np.concatenate(alike, 1), format=name, layout=layout)
        whole.sample_rate = own_rate
        resampler = AudioResampler("s16", "mono", sample_rate)
        frames = [*resampler.resample(whole), *resampler.resample(None)]
    except LIBAV_ERRORS as error:
        raise MediaError("undecodable", f"sound as {name}, {layout}, {own_rate} Hz: {error_message(error)}") from None
    return [frame.to_ndarray()[0] for frame in frames if frame is not None]
