"""Sounds of people and animals.

Every synthesizer takes (rng, n, rate, beats) and returns n samples at `rate` Hz, float (n,); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import numpy as np

from synesthesia.synthetic.audio.synth import burst, decay, envelope, formants, glide, mix, modes, noise, osc, repeat


def _voice(rng, seconds, rate, pitch, peaks, breath=0.05, attack=0.02, release=0.08, tilt=0.6):
    """Synthesize a voice: `pitch` is (fraction of the duration, Hz) points, `peaks` the formants."""
    n = int(seconds * rate)
    f = glide(n, rate, [(fraction * seconds, hz) for fraction, hz in pitch])
    x = osc(f, n, rate, formants(float(f.mean()), peaks, rate, tilt))
    if breath:
        x = x + breath * noise(rng, n, rate, 300, 6000, 0.5)
    return x * envelope(n, rate, attack, release)


def dog_barking(rng, n, rate, beats):
    """Synthesize single and double barks."""
    base = rng.uniform(190, 520)
    mouth = [(base * 2.2, 160, 1), (rng.uniform(1100, 1700), 300, 0.5)]

    def bark():
        top, duration = base * rng.uniform(1.3, 1.8), rng.uniform(0.12, 0.22)
        return _voice(rng, duration, rate, [(0, base), (0.25, top), (1, base * 0.7)], mouth, 0.25, 0.008, 0.1, 0.3)

    doubled = [b + 0.24 for b in beats if rng.random() < 0.3]
    return repeat(rng, n, rate, np.concatenate([beats, doubled]), bark)


def chicken_crowing(rng, n, rate, beats):
    """Synthesize four-syllable crows."""
    base = rng.uniform(480, 720)
    mouth = [(base * 2, 300, 1), (rng.uniform(2200, 3000), 600, 0.6)]

    def crow():
        parts, start = [], 0.0
        for duration, a, b, c in ((0.16, 0.8, 1, 0.9), (0.12, 1, 1.2, 1.1), (0.2, 1.1, 1.4, 1.2), (0.8, 1.2, 1.5, 0.7)):
            duration *= rng.uniform(0.8, 1.2)
            pitch = [(0, base * a), (0.4, base * b), (1, base * c)]
            parts.append(
                (start, _voice(rng, duration, rate, pitch, mouth, 0.12, 0.02, 0.1, 0.2), 0.7 + 0.3 * (duration > 0.5))
            )
            start += duration + 0.05
        return mix(int(1.9 * rate), rate, parts)

    return repeat(rng, n, rate, beats, crow, 2)


def owl_hooting(rng, n, rate, beats):
    """Synthesize hoots in a rhythm of two or four notes."""
    base = rng.uniform(280, 430)
    rhythm = ((0, 0.28), (0.55, 0.14), (0.75, 0.14), (1.0, 0.5)) if rng.random() < 0.6 else ((0, 0.3), (0.5, 0.6))

    def hoots():
        x = []
        for start, duration in rhythm:
            m = int(duration * rate)
            f = glide(m, rate, [(0, base * 0.93), (duration / 3, base), (duration, base * 0.9)])
            x.append((start, osc(f, m, rate, (1, 0.12, 0.04)) * envelope(m, rate, 0.06, 0.1), 1))
        return mix(int(1.7 * rate), rate, x)

    return repeat(rng, n, rate, beats, hoots, 2) + 0.01 * noise(rng, n, rate, 50, 2000, 1)


def cricket_chirping(rng, n, rate, beats):
    """Synthesize chirps of a near cricket over a far one."""
    base, pulses, gap = rng.uniform(3900, 5600), int(rng.integers(2, 5)), rng.uniform(0.03, 0.05)
    pulse = osc(base, int(0.024 * rate), rate) * envelope(int(0.024 * rate), rate, 0.006, 0.012)
    near = mix(int(0.3 * rate), rate, [(k * gap, pulse, 0.7 + 0.3 * k / pulses) for k in range(pulses)])
    far = osc(base * 1.07, n, rate) * (0.5 + 0.5 * osc(rng.uniform(14, 22), n, rate)) * 0.07
    return repeat(rng, n, rate, beats, lambda: near, 1, 0.1) + far


def mosquito_buzzing(rng, n, rate, beats):
    """Synthesize a buzz that drifts in pitch and swells at each event."""
    base = rng.uniform(480, 780)
    t = np.linspace(0, n / rate, 40)
    f = np.interp(np.arange(n) / rate, t, base * (1 + np.cumsum(rng.normal(0, 0.012, 40)).clip(-0.12, 0.12)))
    loud = np.full(40, 0.12)
    for b in beats:
        loud += np.exp(-0.5 * ((t - b) / 0.45) ** 2)
    x = osc(f, n, rate, (1, 0.8, 0.55, 0.4, 0.3, 0.2, 0.12, 0.08, 0.05))
    return x * np.interp(np.arange(n) / rate, t, loud.clip(0, 1.3))


def bird_wings_flapping(rng, n, rate, beats):
    """Synthesize soft noise bursts with pauses."""
    low, high = rng.uniform(150, 350), rng.uniform(1300, 2600)

    def flap():
        m = int(rng.uniform(0.07, 0.12) * rate)
        return noise(rng, m, rate, low, high, 1.0) * envelope(m, rate, 0.03, 0.05)

    keep = [b for b in beats if (b * rng.uniform(0.9, 1.1)) % 5 < rng.uniform(3.4, 5)]
    return repeat(rng, n, rate, keep, flap, 4, 0.4) + 0.02 * noise(rng, n, rate, 100, 3000, 1)


def duck(rng, n, rate, beats):
    """Synthesize nasal quacks."""
    base = rng.uniform(170, 260)
    mouth = [(rng.uniform(900, 1300), 200, 1), (rng.uniform(1900, 2500), 350, 0.8)]
    duration = rng.uniform(0.12, 0.22)
    return repeat(
        rng,
        n,
        rate,
        beats,
        lambda: _voice(
            rng, duration, rate, [(0, base * 1.15), (0.3, base), (1, base * 0.85)], mouth, 0.15, 0.01, 0.06, 0.0
        ),
    )


def frog(rng, n, rate, beats):
    """Synthesize croaks, trilled rising tones."""
    trill, tone = rng.uniform(28, 48), rng.uniform(420, 900)

    def croak():
        m = int(rng.uniform(0.22, 0.45) * rate)
        grain = 0.5 + 0.5 * osc(trill, m, rate)
        return (
            osc(glide(m, rate, [(0, tone * 0.85), (m / rate, tone)]), m, rate, (1, 0.7, 0.2))
            * grain**3
            * envelope(m, rate, 0.05, 0.05)
        )

    return repeat(rng, n, rate, beats, croak) + 0.03 * noise(rng, n, rate, 300, 2500, 0.5)


def cattle_cowbell(rng, n, rate, beats):
    """Synthesize cowbell strokes and sometimes a moo."""
    base = rng.uniform(480, 820)
    bell = modes(
        rate, 0.45, base * np.array([1, 1.47, 2.1, 2.9, 4.1]), (0.12, 0.1, 0.08, 0.05, 0.03), (1, 0.9, 0.5, 0.4, 0.3)
    )
    moo = _voice(rng, 1.4, rate, [(0, 120), (0.3, 165), (1, 105)], [(400, 120, 1), (900, 200, 0.4)], 0.04, 0.2, 0.4)
    moos = [(rng.uniform(0.5, 8), moo, 0.7)] if rng.random() < 0.5 else []
    return repeat(rng, n, rate, beats, lambda: bell, 1, 0.5) + mix(n, rate, moos)


def people_coughing(rng, n, rate, beats):
    """Synthesize fits of two to four coughs."""
    size = rng.uniform(0.8, 1.4)

    def cough():
        m = int(rng.uniform(0.22, 0.34) * rate)
        air = noise(rng, m, rate, 250, 3600 * size, 0.6) * (
            decay(m, rate, 0.035, 0.004) + 0.25 * decay(m, rate, 0.14, 0.05)
        )
        throat = osc(150 * size, m, rate, formants(150 * size, [(650 * size, 200, 1), (1500 * size, 300, 0.5)], rate))
        return air * 0.5 + 0.45 * throat * envelope(m, rate, 0.04, 0.12)

    times = []
    for b in beats:
        times += [b + 0.36 * k for k in range(int(rng.integers(2, 5)))]
    return repeat(rng, n, rate, times, cough, 4, 0.35)


def people_sneezing(rng, n, rate, beats):
    """Synthesize sneezes: inhalation, "ah", "choo"."""
    pitch = rng.uniform(170, 330)

    def sneeze():
        inhale = int(0.45 * rate)
        breath = noise(rng, inhale, rate, 500, 3000, 0.4) * glide(inhale, rate, [(0, 0), (0.4, 0.16), (0.45, 0)])
        ah = _voice(rng, 0.3, rate, [(0, pitch), (1, pitch * 1.5)], [(800, 200, 1), (1300, 250, 0.7)], 0.1, 0.08, 0.05)
        m = int(0.4 * rate)
        choo = noise(rng, m, rate, 2200, 7800) * decay(m, rate, 0.11, 0.01)
        oo = _voice(
            rng, 0.35, rate, [(0, pitch * 1.6), (1, pitch * 0.8)], [(420, 130, 1), (1500, 300, 0.3)], 0.1, 0.02, 0.2
        )
        return mix(int(1.4 * rate), rate, [(0, breath, 1), (0.4, ah, 0.5), (0.72, choo, 0.6), (0.76, oo, 0.5)])

    return repeat(rng, n, rate, np.maximum(beats - 0.72, 0), sneeze, 2)


def people_whistling(rng, n, rate, beats):
    """Synthesize a whistled melody with vibrato and rests."""
    scale = rng.uniform(900, 1500) * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    step = int(rng.integers(0, 8))
    points = [(0.0, scale[step])]
    loud = [(0.0, 0.0)]
    for b in beats:
        step = int(np.clip(step + rng.integers(-2, 3), 0, 7))
        points += [(b, points[-1][1]), (b + 0.05, scale[step])]
        loud += [(max(b - 0.02, loud[-1][0] + 0.001), 0.25), (b + 0.05, 1), (b + 0.15, 0.8)]
    f = glide(n, rate, points) * (1 + 0.012 * osc(rng.uniform(4.5, 6.5), n, rate))
    rest = 1.0 * (np.sin(2 * np.pi * np.arange(n) / rate / rng.uniform(3, 5) + rng.uniform(0, 6)) > -0.75)
    x = osc(f, n, rate, (1, 0.05)) + 0.05 * noise(rng, n, rate, 900, 4000)
    return x * glide(n, rate, loud) * np.convolve(rest[::64], np.ones(9) / 9, "same").repeat(64)[:n]


def baby_crying(rng, n, rate, beats):
    """Synthesize wails."""
    base = rng.uniform(380, 540)
    mouth = [(1100, 250, 1), (2900, 500, 0.9), (base, 100, 0.4)]

    def wail():
        duration = rng.uniform(0.6, 0.95)
        top = base * rng.uniform(1.15, 1.4)
        return _voice(
            rng,
            duration,
            rate,
            [(0, base), (0.2, top), (0.7, top * 0.95), (1, base * 0.8)],
            mouth,
            0.12,
            0.08,
            0.15,
            0.1,
        )

    return repeat(rng, n, rate, beats, wail)


def heartbeat(rng, n, rate, beats):
    """Synthesize heart sounds, two low thuds per beat."""
    tone, gap = rng.uniform(45, 75), rng.uniform(0.22, 0.32)
    lub = modes(rate, 0.25, (tone, tone * 2.1), (0.05, 0.03), (1, 0.4), 0.01)
    dub = modes(rate, 0.2, (tone * 1.35, tone * 2.6), (0.035, 0.02), (0.8, 0.4), 0.01)
    x = mix(n, rate, [(b, lub, 1) for b in beats] + [(b + gap, dub, 0.7) for b in beats])
    return x + 0.012 * burst(rng, n / rate, rate, 30, 500, 1e6, 1.0)
