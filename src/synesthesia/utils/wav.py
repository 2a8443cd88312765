"""WAV files."""

from __future__ import annotations

import io
import wave

import numpy as np


def encode_wav(samples: np.ndarray, sample_rate: int = 16000) -> bytes:
    """Encode samples as a 16-bit PCM WAV file.

    Args:
        samples: Shape (n,) or (n, channels). int16 samples are written as they are; floats in [-1, 1) are scaled by
            32768, rounded, and clipped.
        sample_rate: Sample rate in Hz.

    Returns:
        The file's bytes.
    """
    if samples.dtype != np.int16:
        samples = np.clip(np.rint(samples * 32768.0), -32768, 32767)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()
