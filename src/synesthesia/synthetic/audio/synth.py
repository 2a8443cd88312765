"""Building blocks of the sounds: oscillators, shaped noise, struck and plucked bodies, mixing of events.

All functions work on mono float arrays; times are in seconds, frequencies and rates in Hz.
"""

from functools import lru_cache
from typing import cast

import numpy as np
from scipy.fft import irfft, next_fast_len

TABLE_SIZE = 4096


@lru_cache(maxsize=512)
def _wave(amps: tuple[float, ...]) -> np.ndarray:
    phase = 2 * np.pi * np.arange(TABLE_SIZE) / TABLE_SIZE
    wave = sum(a * np.sin(k * phase) for k, a in enumerate(amps, 1))
    return np.asarray(wave, np.float32) / max(1e-6, float(np.abs(wave).max()))


def osc(freq, n: int, rate: int, amps=(1.0,), phase: float = 0.0) -> np.ndarray:
    """Synthesize a periodic tone from a wavetable; harmonics above 0.48 of the rate are dropped.

    Args:
        freq: Frequency in Hz, a number or (n,).
        n: Number of samples.
        rate: Sample rate in Hz.
        amps: Amplitudes of the harmonics 1, 2, 3, ...
        phase: Initial phase in cycles.

    Returns:
        float32 (n,) in [-1, 1].
    """
    max_freq = float(np.max(freq))
    amps = tuple(round(float(a), 3) for k, a in enumerate(amps, 1) if k * max_freq < 0.48 * rate) or (0.0,)
    cycles = np.cumsum(freq) / rate if np.ndim(freq) else np.arange(n) * (freq / rate)
    return _wave(amps)[((cycles + phase) * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]


def saw(count: int, tilt: float = 1.0) -> list[float]:
    """Compute harmonic amplitudes of a sawtooth-like wave.

    Args:
        count: Number of harmonics.
        tilt: Amplitudes fall as 1 / k ** tilt; 1 is a sawtooth, larger is softer.

    Returns:
        One amplitude per harmonic.
    """
    return [1 / k**tilt for k in range(1, count + 1)]


def odd(count: int, tilt: float = 1.0) -> list[float]:
    """Compute harmonic amplitudes of odd harmonics only (a square wave, a clarinet, a horn).

    Args:
        count: Number of harmonics.
        tilt: Amplitudes fall as 1 / k ** tilt.

    Returns:
        One amplitude per harmonic; even ones are 0.
    """
    return [k % 2 / k**tilt for k in range(1, count + 1)]


def formants(f0: float, peaks, rate: int, tilt: float = 0.6) -> list[float]:
    """Compute harmonic amplitudes of a voice.

    Args:
        f0: Pitch in Hz.
        peaks: Formants as (Hz, width in Hz, gain).
        rate: Sample rate in Hz.
        tilt: Amplitudes fall as 1 / k ** tilt besides.

    Returns:
        One amplitude per harmonic below 0.45 of the rate.
    """
    ks = np.arange(1, max(2, int(0.45 * rate / f0)))
    curve = 0.02 + sum(g * np.exp(-0.5 * ((ks * f0 - f) / w) ** 2) for f, w, g in peaks)
    return list(curve / ks**tilt)


def glide(n: int, rate: int, points) -> np.ndarray:
    """Interpolate linearly between points.

    Args:
        n: Number of samples.
        rate: Sample rate in Hz.
        points: (seconds, value) pairs, ascending in time.

    Returns:
        float64 (n,).
    """
    t, v = zip(*points, strict=True)
    return np.interp(np.arange(n) / rate, t, v)


def noise(rng, n: int, rate: int, low: float = 20.0, high: float = 8000.0, tilt: float = 0.0) -> np.ndarray:
    """Synthesize band-limited noise in the frequency domain.

    Args:
        rng: Random generator.
        n: Number of samples.
        rate: Sample rate in Hz.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz.
        tilt: Power falls as f ** -tilt: 0 white, 1 pink, 2 brown.

    Returns:
        float32 (n,), standard deviation 1.
    """
    size = cast("int", next_fast_len(n, real=True))
    f = np.arange(size // 2 + 1) * (rate / size)
    ramp = np.clip((f - 0.8 * low) / (0.2 * low + 1), 0, 1) * np.clip((1.25 * high - f) / (0.25 * high + 1), 0, 1)
    if tilt:
        ramp = ramp * (np.maximum(f, 20.0) / 1000) ** (-tilt / 2)
    bins = rng.standard_normal((2, len(f)), dtype=np.float32)
    x = cast("np.ndarray", irfft(((bins[0] + 1j * bins[1]) * ramp).astype(np.complex64), size))[:n]
    return x / (float(x.std()) + 1e-9)


def decay(n: int, rate: int, seconds: float, attack: float = 0.002) -> np.ndarray:
    """Compute an envelope with exponential decay.

    Args:
        n: Number of samples.
        rate: Sample rate in Hz.
        seconds: Time constant: the envelope falls to 1/e in this time.
        attack: Rise time in seconds.

    Returns:
        float32 (n,) in [0, 1].
    """
    t = np.arange(n, dtype=np.float32) / rate
    return np.exp(-t / seconds) * np.minimum(1, t / max(attack, 1e-4))


def envelope(n: int, rate: int, attack: float, release: float) -> np.ndarray:
    """Compute an envelope that rises, holds and falls.

    Args:
        n: Number of samples.
        rate: Sample rate in Hz.
        attack: Rise time in seconds.
        release: Fall time in seconds, at the end.

    Returns:
        float32 (n,) in [0, 1].
    """
    t = np.arange(n, dtype=np.float32) / rate
    return np.clip(np.minimum(t / max(attack, 1e-3), (n / rate - t) / max(release, 1e-3)), 0, 1)


def burst(rng, seconds: float, rate: int, low: float, high: float, fall: float, tilt: float = 0.0) -> np.ndarray:
    """Synthesize a decaying noise burst: a click, a tap, a puff.

    Args:
        rng: Random generator.
        seconds: Duration.
        rate: Sample rate in Hz.
        low: Lower edge of the band in Hz.
        high: Upper edge of the band in Hz.
        fall: Time constant of the decay in seconds.
        tilt: Spectral tilt, see `noise`.

    Returns:
        float32 (seconds * rate,).
    """
    n = int(seconds * rate)
    return noise(rng, n, rate, low, high, tilt) * decay(n, rate, fall) * 0.4


def modes(rate: int, seconds: float, freqs, falls, amps, attack: float = 0.001) -> np.ndarray:
    """Synthesize a struck body by modal synthesis: a sum of damped sines.

    Args:
        rate: Sample rate in Hz.
        seconds: Duration.
        freqs: Frequencies of the modes in Hz.
        falls: Time constants of the modes in seconds.
        amps: Amplitudes of the modes.
        attack: Rise time in seconds.

    Returns:
        float32 (seconds * rate,).
    """
    n = int(seconds * rate)
    t = np.arange(n, dtype=np.float32) / rate
    x = np.zeros(n, np.float32)
    for f, d, a in zip(freqs, falls, amps, strict=False):
        if f < 0.48 * rate:
            x += a * np.exp(-t / d) * np.sin(np.float32(2 * np.pi * f) * t)
    return x * np.minimum(1, t / attack)


def pluck(freq, seconds: float, rate: int, fall: float, bright: float = 0.5) -> np.ndarray:
    """Synthesize a plucked or hammered string; high harmonics decay first.

    Args:
        freq: Pitch in Hz.
        seconds: Duration.
        rate: Sample rate in Hz.
        fall: Time constant of the low harmonics in seconds.
        bright: Level of the high harmonics, 0 to 1.

    Returns:
        float32 (seconds * rate,).
    """
    n = int(seconds * rate)
    x = osc(freq, n, rate, saw(14, 0.8)) * decay(n, rate, fall / 4, 0.001) * bright
    return x + osc(freq, n, rate, saw(5, 1.5)) * decay(n, rate, fall, 0.002) * (1 - bright / 2)


def mix(n: int, rate: int, events) -> np.ndarray:
    """Add events to a silent signal; parts beyond its end are cut.

    Args:
        n: Number of samples.
        rate: Sample rate in Hz.
        events: (start in seconds, samples, gain) triples.

    Returns:
        float32 (n,).
    """
    out = np.zeros(n, np.float32)
    for start_seconds, x, gain in events:
        start = int(start_seconds * rate)
        if 0 <= start < n:
            part = x[: n - start]
            out[start : start + len(part)] += gain * part
    return out


def repeat(rng, n: int, rate: int, beats, make, variants: int = 4, spread: float = 0.3) -> np.ndarray:
    """Place a random variant of a sound on each beat.

    Args:
        rng: Random generator.
        n: Number of samples.
        rate: Sample rate in Hz.
        beats: Times of the events in seconds.
        make: Function that synthesizes one variant.
        variants: Maximum number of variants.
        spread: Gains vary by this fraction.

    Returns:
        float32 (n,).
    """
    sounds = [make() for _ in range(min(variants, max(1, len(beats))))]
    return mix(n, rate, [(b, sounds[rng.integers(len(sounds))], 1 + spread * rng.uniform(-1, 1)) for b in beats])
