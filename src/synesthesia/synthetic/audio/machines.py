"""Sounds of vehicles, alarms and engines.

Every synthesizer takes (rng, n, rate, beats) and returns n samples at `rate` Hz, float (n,); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import numpy as np

from synesthesia.synthetic.audio.synth import burst, envelope, glide, mix, modes, noise, odd, osc, repeat, saw


def _pass_by(rng, n, rate):
    """Draw pitch factor and gain, each (n,), of a source that drives past the microphone in half of the clips."""
    t = np.arange(n) / rate
    if rng.random() < 0.5:
        return np.ones(n), np.ones(n)
    offset = (t - rng.uniform(3, 7)) / rng.uniform(1.5, 3)
    return 1 - 0.05 * np.tanh(offset), 0.35 + 0.65 / (1 + offset**2)


def ambulance_siren(rng, n, rate, beats):
    """Synthesize a two-tone siren that may drive past."""
    low, ratio = rng.uniform(400, 480), rng.uniform(1.3, 1.4)
    gap = beats[1] - beats[0] if len(beats) > 1 else 0.6
    turn = ((np.arange(n) / rate - beats[0]) / gap) % 2
    f = low * np.where(turn < 1, 1.0, ratio)
    pitch, loud = _pass_by(rng, n, rate)
    return osc(f * pitch, n, rate, odd(9, 0.9)) * loud + 0.05 * noise(rng, n, rate, 30, 900, 1)


def police_siren(rng, n, rate, beats):
    """Synthesize a siren that switches between a slow wail and a fast yelp."""
    low, high = rng.uniform(520, 680), rng.uniform(1250, 1650)
    t = np.arange(n) / rate
    slow = rng.uniform(2.8, 4.4)
    yelp = (beats[1] - beats[0]) if len(beats) > 1 else 0.33
    switch = rng.choice([0.0, 5.0, 10.0]) + rng.uniform(-0.5, 0.5)
    turn = np.where(t < switch, (t / slow) % 1, (t / yelp) % 1)
    f = low * (high / low) ** (0.5 - 0.5 * np.cos(2 * np.pi * turn))
    pitch, loud = _pass_by(rng, n, rate)
    return osc(f * pitch, n, rate, saw(10, 0.9)) * loud + 0.05 * noise(rng, n, rate, 30, 900, 1)


def helicopter(rng, n, rate, beats):
    """Synthesize rotor chop, air noise and turbine whine."""
    chop = 1 / max(0.03, float(np.mean(np.diff(beats)))) if len(beats) > 1 else 12.0
    pulse = (0.5 + 0.5 * osc(chop, n, rate)) ** 4
    slow = 0.75 + 0.25 * osc(rng.uniform(0.08, 0.3), n, rate, phase=rng.uniform())
    air = noise(rng, n, rate, 30, 700, 1.2) * (0.15 + pulse)
    whine = osc(rng.uniform(600, 1100), n, rate, (1, 0.3, 0.2)) * rng.uniform(0.03, 0.12)
    return (air * 0.5 + osc(chop * 4, n, rate, saw(6)) * pulse * 0.3 + whine) * slow


def train_horning(rng, n, rate, beats):
    """Synthesize horn chords over wheel noise."""
    base = rng.uniform(240, 330)
    chord = base * np.array([1, 1.19, 1.335, 1.587, 2.0][: int(rng.integers(3, 6))])
    gap = float(beats[1] - beats[0]) if len(beats) > 1 else 3.0
    parts = []
    for k, b in enumerate(beats):
        duration = gap * (0.35 if k % 4 == 2 else 0.75) * rng.uniform(0.9, 1.1)
        m = int(duration * rate)
        horns = sum(osc(f * rng.uniform(0.995, 1.005), m, rate, saw(9, 0.7), rng.uniform()) for f in chord)
        parts.append((b, horns / len(chord) * envelope(m, rate, 0.06, 0.2), 1))
    wheels = noise(rng, n, rate, 30, 500, 1.5) * rng.uniform(0.05, 0.15)
    return mix(n, rate, parts) + wheels


def steam_whistle(rng, n, rate, beats):
    """Synthesize three-tone whistle blasts with hiss."""
    base = rng.uniform(520, 900)
    parts = []
    for b in beats:
        m = int(rng.uniform(0.8, 1.7) * rate)
        rise = glide(m, rate, [(0, 0.75), (0.15, 1), (m / rate - 0.15, 1), (m / rate, 0.8)])
        tone = sum(osc(base * r * rise, m, rate, (1, 0.15, 0.2)) for r in (1, 1.26, 1.5)) / 3
        parts.append((b, (tone + 0.3 * noise(rng, m, rate, 1200, 7500)) * envelope(m, rate, 0.12, 0.2), 1))
    return mix(n, rate, parts) + 0.06 * noise(rng, n, rate, 800, 6000)


def race_car(rng, n, rate, beats):
    """Synthesize up to five cars that pass with a Doppler shift."""
    t = np.arange(n) / rate
    x = 0.03 * noise(rng, n, rate, 40, 1500, 1)
    for b in beats[:5]:
        offset = (t - b) / rng.uniform(0.25, 0.5)
        x = x + osc(rng.uniform(180, 320) * (1 - 0.22 * np.tanh(offset)), n, rate, saw(16, 0.5)) / (1 + offset**2)
    return x


def chainsaw(rng, n, rate, beats):
    """Synthesize a two-stroke engine that alternates between idle and full throttle."""
    idle, full = rng.uniform(45, 65), rng.uniform(110, 170)
    points, on = [(0.0, idle)], False
    for b in beats:
        on = not on
        points += [(b, points[-1][1]), (b + 0.25, full * rng.uniform(0.85, 1.1) if on else idle)]
    f = glide(n, rate, points) * (1 + 0.03 * osc(7.3, n, rate))
    return osc(f, n, rate, saw(40, 0.3)) * (f / full) * 0.8 + 0.15 * noise(rng, n, rate, 500, 7000) * (f / full) ** 2


def vacuum_cleaner(rng, n, rate, beats):
    """Synthesize motor hum and air noise whose level follows the strokes."""
    motor = rng.uniform(190, 330)
    near = np.interp(np.arange(n) / rate, np.concatenate([[0.0], beats]), rng.uniform(0.7, 1.1, len(beats) + 1))
    tone = osc(motor * (0.97 + 0.03 * near), n, rate, (1, 0.5, 0.7, 0.2, 0.4, 0.1, 0.3))
    return noise(rng, n, rate, 150, 7500, 0.5) * 0.25 * near + tone * rng.uniform(0.2, 0.4)


def bicycle(rng, n, rate, beats):
    """Synthesize freewheel ticks, road noise and sometimes a bell."""
    tick = burst(rng, 0.02, rate, 1800, 6500, 0.004)
    gaps = np.diff(beats, prepend=0.0)
    speed = np.interp(beats, np.linspace(0, 10, 6), rng.uniform(0.6, 1.6, 6))
    times = np.cumsum(gaps * speed)
    ring = modes(rate, 0.6, (2300, 2950, 4100), (0.25, 0.2, 0.1), (1, 0.7, 0.3))
    bell = [(w + d, ring, 0.3) for w in rng.uniform(0, 9, rng.integers(0, 3)) for d in (0, 0.12, 0.24)]
    road = noise(rng, n, rate, 60, 1500, 1) * rng.uniform(0.05, 0.12)
    return repeat(rng, n, rate, times, lambda: tick, 1, 0.3) + mix(n, rate, bell) + road


def smoke_detector(rng, n, rate, beats):
    """Synthesize one or three high beeps per event."""
    f = rng.uniform(2900, 3500)
    count, duration = int(rng.choice([1, 3])), rng.uniform(0.12, 0.3)
    gap = float(beats[1] - beats[0]) if len(beats) > 1 else 1.2
    duration = min(duration, 0.6 * gap / count)
    m = int(duration * rate)
    beep = osc(f, m, rate, (1, 0.3, 0.1)) * envelope(m, rate, 0.005, 0.01)
    return mix(n, rate, [(b + k * duration * 1.5, beep, 1) for b in beats for k in range(count)])


def alarm_clock(rng, n, rate, beats):
    """Synthesize four short square-wave beeps per event."""
    f, duration = rng.uniform(1500, 2300), rng.uniform(0.05, 0.08)
    m = int(duration * rate)
    beep = osc(f, m, rate, odd(7, 0.8)) * envelope(m, rate, 0.003, 0.006)
    return mix(n, rate, [(b + k * duration * 1.7, beep, 1) for b in beats for k in range(4)])


def telephone(rng, n, rate, beats):
    """Synthesize rings of a mechanical two-tone bell."""
    base, strokes = rng.uniform(1100, 1700), rng.uniform(18, 25)
    ding = modes(rate, 0.5, base * np.array([1, 2.3, 3.8]), (0.25, 0.15, 0.08), (1, 0.6, 0.3))
    dong = modes(rate, 0.5, base * 1.2 * np.array([1, 2.3, 3.8]), (0.25, 0.15, 0.08), (1, 0.6, 0.3))
    parts = [
        (b + k / strokes, dong if k % 2 else ding, rng.uniform(0.8, 1.0))
        for b in beats
        for k in range(int(1.3 * strokes))
    ]
    return mix(n, rate, parts)


def slot_machine(rng, n, rate, beats):
    """Synthesize melodies, falling coins and reel clicks."""
    scale = rng.uniform(500, 800) * 2 ** (np.array([0, 4, 7, 12, 16, 19]) / 12)
    coin = modes(rate, 0.15, rng.uniform(3000, 4200) * np.array([1, 1.4, 1.9]), (0.03, 0.03, 0.02), (1, 0.7, 0.5))
    parts = []
    for b in beats:
        if rng.random() < 0.6:
            up = rng.permutation(6) if rng.random() < 0.4 else np.arange(6)
            m = int(0.09 * rate)
            tones = [osc(f, m, rate, odd(5)) * envelope(m, rate, 0.004, 0.03) for f in scale]
            parts += [(b + 0.1 * k, tones[up[k % 6]], 0.5) for k in range(int(rng.integers(4, 10)))]
        else:
            parts += [(b + d, coin, rng.uniform(0.3, 0.9)) for d in np.sort(rng.uniform(0, 1, 14))]
    click = burst(rng, 0.02, rate, 1500, 5000, 0.004)
    parts += [(w, click, 0.4) for w in np.arange(0, n / rate, rng.uniform(0.08, 0.14)) if (w // 1.5) % 2 == 0]
    return mix(n, rate, parts) + 0.03 * noise(rng, n, rate, 200, 2500, 1)
