"""Synthetic sounds: tones for the sound check, and the Huggins-pitch headphone check.

The headphone check is that of Milne, Bianco, Poole, Zhao, Oxenham, Billig, and Chait (2021, Behavior Research Methods
53:1551, doi 10.3758/s13428-020-01514-0): each sound has three one-second intervals of white noise; in one of them, the
right channel is the left channel with the phase inverted in a band of +-6 % around 600 Hz. Over headphones, that
interval contains a faint tone (Cramer and Huggins 1958); over loudspeakers, and in each channel alone, it does not.
There are six sounds, and the participant names the interval.
"""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 44100  # Hz
CENTER_FREQUENCY, RELATIVE_HALF_BANDWIDTH = 600.0, 0.06  # Hz, fraction of the center
INTERVAL_SECONDS, PAUSE_SECONDS, RAMP_SECONDS = 1.0, 0.5, 0.01  # s; pause and ramp are not from the paper
TARGET_INTERVALS = (1, 0, 2, 2, 1, 0)  # the interval with the tone, each twice
PASS_SCORE = 6  # of 6; guessing passes once in 729
NOISE_RMS = 0.08  # of full scale; below most clips, as loud noise is unpleasant

CHECK_SAMPLE_RATE = 16000  # Hz, as the clips
TONE_FREQUENCY, TONE_RMS = 440.0, 0.1  # Hz, RMS of full scale


def make_huggins_noise(rng: np.random.Generator) -> np.ndarray:
    """Generate one second of white noise with a Huggins pitch.

    Args:
        rng: Random generator.

    Returns:
        float64 samples, shape (n, 2), at `SAMPLE_RATE`; RMS about 1 per channel.
    """
    left = rng.standard_normal(round(SAMPLE_RATE * INTERVAL_SECONDS))
    spectrum = np.fft.rfft(left)
    frequency = np.fft.rfftfreq(len(left), 1 / SAMPLE_RATE)
    band = np.abs(frequency - CENTER_FREQUENCY) <= RELATIVE_HALF_BANDWIDTH * CENTER_FREQUENCY
    right = np.fft.irfft(np.where(band, -spectrum, spectrum), len(left))
    return np.stack([left, right], axis=1)


def make_headphone_sound(target_interval: int, seed: int) -> np.ndarray:
    """Generate a sound of the headphone check.

    Args:
        target_interval: Interval with the Huggins pitch, 0 to 2.
        seed: Random seed.

    Returns:
        int16 samples, shape (n, 2), at `SAMPLE_RATE`: three intervals with pauses between them.
    """
    rng = np.random.default_rng([seed, target_interval])
    parts = []
    for interval in range(3):
        diotic = np.repeat(rng.standard_normal((round(SAMPLE_RATE * INTERVAL_SECONDS), 1)), 2, axis=1)
        parts.append(_apply_ramps(make_huggins_noise(rng) if interval == target_interval else diotic, SAMPLE_RATE))
        parts.append(np.zeros((round(SAMPLE_RATE * PAUSE_SECONDS), 2)))
    sound = np.concatenate(parts[:-1]) * NOISE_RMS
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def make_counting_sound(n_tones: int, seconds: float = 6.0) -> np.ndarray:
    """Generate the tones of the sound check.

    Args:
        n_tones: Number of tones, one per second.
        seconds: Duration in seconds.

    Returns:
        int16 samples, shape (n,), at `CHECK_SAMPLE_RATE`.
    """
    sound = np.zeros(round(seconds * CHECK_SAMPLE_RATE))
    time = np.arange(round(0.4 * CHECK_SAMPLE_RATE)) / CHECK_SAMPLE_RATE
    sine = np.sin(2 * np.pi * TONE_FREQUENCY * time)[:, None]
    tone = _apply_ramps(sine, CHECK_SAMPLE_RATE)[:, 0] * TONE_RMS * np.sqrt(2)
    for number in range(n_tones):
        start = round((0.5 + number) * CHECK_SAMPLE_RATE)
        sound[start : start + len(tone)] = tone
    return np.round(sound * 32767).astype(np.int16)


def _apply_ramps(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Apply raised-cosine onset and offset ramps to samples of shape (n, channels)."""
    n = round(RAMP_SECONDS * sample_rate)
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n))[:, None]
    sound = sound.copy()
    sound[:n] *= ramp
    sound[-n:] *= ramp[::-1]
    return sound
