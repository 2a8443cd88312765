"""Sounds of instruments and bells.

Every synthesizer takes (rng, n, rate, beats) and returns n samples at `rate` Hz, float (n,); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import numpy as np

from synesthesia.synthetic.audio.synth import (
    burst,
    decay,
    envelope,
    formants,
    glide,
    mix,
    modes,
    noise,
    osc,
    pluck,
    repeat,
)

MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])
MINOR = np.array([0, 2, 3, 5, 7, 8, 10])


def _scale(rng, low: float, octaves: int) -> np.ndarray:
    """Draw a random key and return its pitches in Hz, upward from about `low`."""
    steps = MAJOR if rng.random() < 0.5 else MINOR
    root = low * 2 ** (rng.integers(0, 12) / 12)
    return np.concatenate([root * 2 ** (o + steps / 12) for o in range(octaves)])


def _walk(rng, count: int, size: int, jump: int) -> np.ndarray:
    """Draw a melody: `count` positions on a scale of `size` notes."""
    position = np.cumsum(rng.integers(-jump, jump + 1, count)) + rng.integers(0, size)
    return np.abs((position % (2 * size - 2)) - (size - 1)).astype(int)


def playing_piano(rng, n, rate, beats):
    """Synthesize a melody with a chord on every fourth note."""
    notes = _scale(rng, rng.uniform(120, 200), 3)
    fall, bright = rng.uniform(0.5, 1.1), rng.uniform(0.25, 0.5)
    notes_by_index = {}

    def note(k):
        if k not in notes_by_index:
            f = notes[k]
            m = int(1.2 * rate)
            knock = burst(rng, 0.05, rate, 200, 2500, 0.01) * 0.15
            x = pluck(f, 1.2, rate, fall * (200 / f) ** 0.4, bright) + 0.5 * pluck(f * 1.0015, 1.2, rate, fall, 0.2)
            x[: len(knock)] += knock
            notes_by_index[k] = x * envelope(m, rate, 0.001, 0.15)
        return notes_by_index[k]

    path = _walk(rng, len(beats), len(notes), 2)
    parts = [(b, note(k), 1) for b, k in zip(beats, path, strict=True)]
    for j, (b, k) in enumerate(zip(beats, path, strict=True)):
        if j % 4 == 0:
            parts += [(b, note(max(0, k - d)), 0.7) for d in (7, 5)]
    return mix(n, rate, parts)


def playing_drum_kit(rng, n, rate, beats):
    """Synthesize a groove of hi-hat, kick, snare and crash."""
    m = int(0.3 * rate)
    low = rng.uniform(45, 70)
    kick = osc(glide(m, rate, [(0, low * 3), (0.04, low), (0.3, low * 0.8)]), m, rate) * decay(m, rate, 0.09, 0.002)
    snare = burst(rng, 0.25, rate, 900, 7500, 0.06) + 0.5 * modes(rate, 0.25, (190, 330), (0.05, 0.04), (1, 0.6))
    hat = burst(rng, 0.1, rate, 4500, 8000, 0.018)
    crash = burst(rng, 1.2, rate, 2500, 8000, 0.35)
    groove = rng.integers(0, 2, 8)
    parts = []
    for k, b in enumerate(beats):
        step = k % 8
        parts.append((b, hat, rng.uniform(0.35, 0.6)))
        if step in (0, 4) or (groove[step] and step % 2):
            parts.append((b, kick, 1.2))
        if step in (2, 6):
            parts.append((b, snare, rng.uniform(0.8, 1.1)))
        if k % 32 == 0 or rng.random() < 0.02:
            parts.append((b, crash, 0.6))
        if step == 7 and rng.random() < 0.4:
            parts += [(b + d, snare, 0.5) for d in (0.06, 0.12)]
    return mix(n, rate, parts)


def acoustic_guitar(rng, n, rate, beats):
    """Synthesize four chords, strummed or as arpeggios."""
    shapes = ((0, 7, 12, 16, 19, 24), (0, 7, 12, 15, 19, 24), (0, 7, 10, 16, 19, 22))
    roots = rng.uniform(82, 130) * 2 ** (np.array([0, 5, 7, 9]) / 12)
    strings = {}
    parts, arpeggio = [], rng.random() < 0.4
    for k, b in enumerate(beats):
        chord = (k // 4) % 4
        if chord not in strings:
            shape = shapes[int(rng.integers(3))]
            strings[chord] = [
                pluck(roots[chord] * 2 ** (s / 12), 0.9, rate, rng.uniform(0.25, 0.5), 0.8) for s in shape
            ]
        if arpeggio:
            parts += [(b, strings[chord][(k * 2 + d) % 6], 1.0) for d in (0, 3)]
        else:
            order = range(6) if k % 2 == 0 else range(5, -1, -1)
            parts += [(b + 0.016 * j, strings[chord][s], rng.uniform(0.6, 1)) for j, s in enumerate(order)]
    scrape = burst(rng, 0.06, rate, 1500, 6000, 0.02)
    return mix(n, rate, parts + [(b, scrape, 0.3) for b in beats])


def playing_violin(rng, n, rate, beats):
    """Synthesize a bowed melody with vibrato."""
    notes = _scale(rng, rng.uniform(196, 300), 2)
    path = _walk(rng, len(beats), len(notes), 2)
    points = [(0.0, notes[path[0]])]
    for b, k in zip(beats, path, strict=True):
        points += [(b, points[-1][1]), (b + 0.04, notes[k])]
    f = glide(n, rate, points) * (1 + 0.008 * osc(rng.uniform(5, 6.5), n, rate))
    bow = np.interp(np.arange(n) / rate, np.concatenate([[0], beats]), rng.uniform(0.5, 1, len(beats) + 1))
    body = formants(float(np.mean(f)), [(500, 200, 1), (1100, 300, 0.8), (2700, 700, 0.8)], rate, 0.3)
    return osc(f, n, rate, body) * bow + 0.03 * noise(rng, n, rate, 1500, 7000)


def harp(rng, n, rate, beats):
    """Synthesize plucked scales or melodies over four octaves."""
    notes = _scale(rng, rng.uniform(130, 220), 4)
    up = np.arange(len(beats)) % (2 * len(notes) - 2)
    path = np.abs(up - (len(notes) - 1)) if rng.random() < 0.5 else _walk(rng, len(beats), len(notes), 4)
    plucks = [pluck(f, 1.3, rate, 0.55 * (300 / f) ** 0.5, 0.15) for f in notes]
    return mix(n, rate, [(b, plucks[k], rng.uniform(0.6, 1)) for b, k in zip(beats, path, strict=True)])


def church_bell(rng, n, rate, beats):
    """Synthesize one or two bells with inharmonic partials."""

    def bell():
        f = base * rng.choice([1.0, 1.122, 1.26, 0.89])
        ratios = np.array([0.5, 1, 1.19, 1.5, 2, 2.5, 3.0, 4.1]) * rng.uniform(0.997, 1.003, 8)
        falls = np.array([2.2, 1.6, 1.2, 0.9, 0.9, 0.5, 0.35, 0.2]) * rng.uniform(0.7, 1.2)
        return modes(rate, 3.0, f * ratios, falls, (0.6, 0.8, 0.7, 0.4, 1, 0.4, 0.4, 0.3))

    base = rng.uniform(220, 480)
    return repeat(rng, n, rate, beats, bell, 2, 0.2)


def gong(rng, n, rate, beats):
    """Synthesize gong strokes: low modes and a slow wash of noise."""
    base = rng.uniform(70, 120)
    m = int(5 * rate)

    def stroke():
        f = base * np.sort(np.concatenate([[1, 1.52, 2.0], rng.uniform(2.2, 14, 16)]))
        low = modes(rate, 5, f[:8], rng.uniform(1.2, 2.2, 8), rng.uniform(0.4, 1, 8), 0.02)
        wash = noise(rng, m, rate, 300, 3500, 1) * decay(m, rate, 1.0, 0.35) * 0.5
        return low * 0.5 + wash

    return repeat(rng, n, rate, beats, stroke, 2, 0.3)
