"""Building blocks of the sounds: oscillators, shaped noise, struck and plucked bodies, events laid on a time line.

All functions work on mono float arrays; times are in seconds, frequencies and rates in Hz.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len

TABLE = 4096


@lru_cache(maxsize=512)
def _wave(amps: tuple[float, ...]) -> np.ndarray:
    phase = 2 * np.pi * np.arange(TABLE) / TABLE
    wave = sum(a * np.sin(k * phase) for k, a in enumerate(amps, 1))
    return np.asarray(wave, np.float32) / max(1e-6, float(np.abs(wave).max()))


def osc(freq, n: int, rate: int, amps=(1.0,), phase: float = 0.0) -> np.ndarray:
    """A periodic tone: n samples in [-1, 1]; `freq` a number or an array of n; `amps` of the harmonics 1, 2, 3, ..."""
    top = float(np.max(freq))
    amps = tuple(round(float(a), 3) for k, a in enumerate(amps, 1) if k * top < 0.48 * rate) or (0.0,)
    turns = np.cumsum(freq) / rate if np.ndim(freq) else np.arange(n) * (freq / rate)
    return _wave(amps)[((turns + phase) * TABLE).astype(np.int64) & (TABLE - 1)]


def saw(count: int, tilt: float = 1.0) -> list[float]:
    """Amplitudes of `count` harmonics that fall as 1 / k ** tilt (1: a saw tooth; larger: softer)."""
    return [1 / k**tilt for k in range(1, count + 1)]


def odd(count: int, tilt: float = 1.0) -> list[float]:
    """Like `saw`, but odd harmonics alone (a square wave, a clarinet, a horn)."""
    return [k % 2 / k**tilt for k in range(1, count + 1)]


def formants(f0: float, peaks, rate: int, tilt: float = 0.6) -> list[float]:
    """Harmonic amplitudes of a voice at pitch f0 whose mouth resonates at `peaks`: (Hz, width in Hz, gain) each."""
    ks = np.arange(1, max(2, int(0.45 * rate / f0)))
    curve = 0.02 + sum(g * np.exp(-0.5 * ((ks * f0 - f) / w) ** 2) for f, w, g in peaks)
    return list(curve / ks**tilt)


def glide(n: int, rate: int, points) -> np.ndarray:
    """N values that pass in straight lines through `points`: (seconds, value) each."""
    t, v = zip(*points, strict=True)
    return np.interp(np.arange(n) / rate, t, v)


def noise(rng, n: int, rate: int, low: float = 20.0, high: float = 8000.0, tilt: float = 0.0) -> np.ndarray:
    """Noise between `low` and `high` with power falling as f ** -tilt (1: pink, 2: brown); n samples, deviation 1."""
    size = next_fast_len(n, real=True)
    f = np.arange(size // 2 + 1) * (rate / size)
    ramp = np.clip((f - 0.8 * low) / (0.2 * low + 1), 0, 1) * np.clip((1.25 * high - f) / (0.25 * high + 1), 0, 1)
    if tilt:
        ramp = ramp * (np.maximum(f, 20.0) / 1000) ** (-tilt / 2)
    bins = rng.standard_normal((2, len(f)), dtype=np.float32)
    x = irfft(((bins[0] + 1j * bins[1]) * ramp).astype(np.complex64), size)[:n]
    return x / (float(x.std()) + 1e-9)


def decay(n: int, rate: int, seconds: float, attack: float = 0.002) -> np.ndarray:
    """An envelope that rises within `attack` and falls to 1/e every `seconds`; n values in 0..1."""
    t = np.arange(n, dtype=np.float32) / rate
    return np.exp(-t / seconds) * np.minimum(1, t / max(attack, 1e-4))


def envelope(n: int, rate: int, attack: float, release: float) -> np.ndarray:
    """An envelope that rises within `attack`, holds, and falls within the last `release` seconds; 0..1."""
    t = np.arange(n, dtype=np.float32) / rate
    return np.clip(np.minimum(t / max(attack, 1e-3), (n / rate - t) / max(release, 1e-3)), 0, 1)


def burst(rng, seconds: float, rate: int, low: float, high: float, fall: float, tilt: float = 0.0) -> np.ndarray:
    """A short noise that falls to 1/e every `fall` seconds: a click, a tap, a puff."""
    n = int(seconds * rate)
    return noise(rng, n, rate, low, high, tilt) * decay(n, rate, fall) * 0.4


def modes(rate: int, seconds: float, freqs, falls, amps, attack: float = 0.001) -> np.ndarray:
    """A struck body: damped sines of the given frequencies, fall times to 1/e and amplitudes."""
    n = int(seconds * rate)
    t = np.arange(n, dtype=np.float32) / rate
    x = np.zeros(n, np.float32)
    for f, d, a in zip(freqs, falls, amps, strict=False):
        if f < 0.48 * rate:
            x += a * np.exp(-t / d) * np.sin(np.float32(2 * np.pi * f) * t)
    return x * np.minimum(1, t / attack)


def pluck(freq: float, seconds: float, rate: int, fall: float, bright: float = 0.5) -> np.ndarray:
    """A plucked or hammered string: its bright part dies first."""
    n = int(seconds * rate)
    x = osc(freq, n, rate, saw(14, 0.8)) * decay(n, rate, fall / 4, 0.001) * bright
    return x + osc(freq, n, rate, saw(5, 1.5)) * decay(n, rate, fall, 0.002) * (1 - bright / 2)


def mix(n: int, rate: int, events) -> np.ndarray:
    """A time line of n samples with every event (seconds, samples, gain) added to it; what does not fit is cut."""
    out = np.zeros(n, np.float32)
    for when, x, gain in events:
        start = int(when * rate)
        if 0 <= start < n:
            part = x[: n - start]
            out[start : start + len(part)] += gain * part
    return out


def repeat(rng, n: int, rate: int, beats, make, variants: int = 4, spread: float = 0.3) -> np.ndarray:
    """Lay one of a few variants of `make()` on each beat, with gains that differ by `spread`."""
    kinds = [make() for _ in range(min(variants, max(1, len(beats))))]
    return mix(n, rate, [(b, kinds[rng.integers(len(kinds))], 1 + spread * rng.uniform(-1, 1)) for b in beats])
