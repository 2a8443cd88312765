"""Sounds that the study makes itself: tones for the sound check, and the Huggins-pitch headphone test.

The headphone test is Milne, Bianco, Poole, Zhao, Oxenham, Billig and Chait's (2021, Behavior Research Methods 53:1551,
doi 10.3758/s13428-020-01514-0): each sound is three intervals of white noise of one second; in one of them the right
ear's noise is the left ear's with the phase turned by 180 degrees in a band of 6 % around 600 Hz. Over headphones a
faint tone is heard in that interval (Cramer and Huggins 1958); over loudspeakers, and in either ear alone, there is
none. Six sounds, the interval to be named.
"""

from __future__ import annotations

import io
import wave

import numpy as np

SAMPLE_RATE = 44100  # Hz
CENTER_FREQUENCY, RELATIVE_HALF_BANDWIDTH = 600.0, 0.06  # Hz, share of the centre
INTERVAL_SECONDS, PAUSE_SECONDS, RAMP_SECONDS = 1.0, 0.5, 0.01  # s; pause and ramp are ours
TARGET_INTERVALS = (1, 0, 2, 2, 1, 0)  # which interval has the tone: each twice
PASS_SCORE = 6  # by chance once in 729
NOISE_RMS = 0.08  # RMS of full scale: quieter than most clips, as noise of a second is unpleasant when loud

CHECK_SAMPLE_RATE = 16000  # Hz, as the clips
TONE_FREQUENCY, TONE_RMS = 440.0, 0.1  # Hz, RMS


def make_huggins_noise(rng: np.random.Generator) -> np.ndarray:
    """One second of noise with the pitch in it: float64 (samples, 2), RMS about 1 in each ear."""
    left = rng.standard_normal(round(SAMPLE_RATE * INTERVAL_SECONDS))
    spectrum = np.fft.rfft(left)
    frequency = np.fft.rfftfreq(len(left), 1 / SAMPLE_RATE)
    band = np.abs(frequency - CENTER_FREQUENCY) <= RELATIVE_HALF_BANDWIDTH * CENTER_FREQUENCY
    right = np.fft.irfft(np.where(band, -spectrum, spectrum), len(left))
    return np.stack([left, right], axis=1)


def make_headphone_sound(target_interval: int, seed: int) -> np.ndarray:
    """Three intervals, the pitch in number `target` (0 to 2): int16 (samples, 2) at `RATE`."""
    random = np.random.default_rng([seed, target_interval])
    intervals = []
    for number in range(3):
        plain = np.repeat(random.standard_normal((round(SAMPLE_RATE * INTERVAL_SECONDS), 1)), 2, axis=1)
        intervals.append(_apply_ramps(make_huggins_noise(random) if number == target_interval else plain, SAMPLE_RATE))
        intervals.append(np.zeros((round(SAMPLE_RATE * PAUSE_SECONDS), 2)))
    sound = np.concatenate(intervals[:-1]) * NOISE_RMS
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def make_counting_sound(n_tones: int, seconds: float = 6.0) -> np.ndarray:
    """So many short tones, to be counted in the sound check: int16 (samples,) at `CHECK_RATE`."""
    sound = np.zeros(round(seconds * CHECK_SAMPLE_RATE))
    time = np.arange(round(0.4 * CHECK_SAMPLE_RATE)) / CHECK_SAMPLE_RATE
    tone = (
        _apply_ramps(np.sin(2 * np.pi * TONE_FREQUENCY * time)[:, None], CHECK_SAMPLE_RATE)[:, 0]
        * TONE_RMS
        * np.sqrt(2)
    )
    for number in range(n_tones):
        start = round((0.5 + number) * CHECK_SAMPLE_RATE)
        sound[start : start + len(tone)] = tone
    return np.round(sound * 32767).astype(np.int16)


def _apply_ramps(audio_codec: np.ndarray, sample_rate: int) -> np.ndarray:
    """Raised-cosine on- and offset."""
    n = round(RAMP_SECONDS * sample_rate)
    rise = (0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n))[:, None]
    audio_codec = audio_codec.copy()
    audio_codec[:n] *= rise
    audio_codec[-n:] *= rise[::-1]
    return audio_codec


def encode_wav(samples: np.ndarray, sample_rate: int) -> bytes:
    """A WAV file of int16 samples, (n,) or (n, channels)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()
