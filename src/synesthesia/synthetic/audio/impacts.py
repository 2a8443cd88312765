"""Sounds of knocks, rolls, rustles and bangs.

Every synthesizer takes (rng, n, rate, beats) and returns n samples at `rate` Hz, float (n,); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import numpy as np

from synesthesia.synthetic.audio.synth import burst, decay, envelope, glide, mix, modes, noise, repeat


def thunder(rng, n, rate, beats):
    """Synthesize rolling thunderclaps, with rain."""

    def clap():
        m = int(rng.uniform(2.5, 4.5) * rate)
        t = np.linspace(0, 1, 60)
        rolls = np.exp(-3.5 * t) * rng.uniform(0.3, 1, 60)
        crack = noise(rng, m, rate, 60, 4000, 1) * decay(m, rate, 0.15, 0.01) * rng.uniform(0.1, 0.8)
        return noise(rng, m, rate, 20, 350, 2) * np.interp(np.linspace(0, 1, m), t, rolls) + crack

    rain = noise(rng, n, rate, 400, 7000, 0.3) * rng.uniform(0.01, 0.06)
    return repeat(rng, n, rate, beats, clap, 2, 0.4) + rain


def fireworks(rng, n, rate, beats):
    """Synthesize bangs, crackles and rising whistles."""
    parts = []
    for b in beats:
        bang = burst(rng, 0.9, rate, 40, 3500, rng.uniform(0.06, 0.16), 1.0)
        parts.append((b, bang, rng.uniform(0.6, 1.2)))
        if rng.random() < 0.5:
            pops = burst(rng, 0.02, rate, 1500, 7000, 0.004)
            parts += [(b + d, pops, rng.uniform(0.2, 0.5)) for d in 0.2 + rng.exponential(0.35, 30)]
        if rng.random() < 0.4 and b > 0.8:
            m = int(0.7 * rate)
            turn = np.cumsum(glide(m, rate, [(0, 1500), (0.7, 2600)])) / rate
            parts.append((b - 0.75, np.sin(2 * np.pi * turn) * envelope(m, rate, 0.3, 0.1), 0.12))
    return mix(n, rate, parts)


def _knock(rng, rate):
    """Synthesize a knock that fits any ball, bat or foot; it makes some clips of four labels ambiguous in audio."""
    tone = 10 ** rng.uniform(2.45, 3.1)
    ratios = np.array([1, 1.8, 2.9])
    return modes(rate, 0.12, tone * ratios, (0.02, 0.014, 0.01), (1, 0.5, 0.3)) + 0.3 * burst(
        rng, 0.12, rate, 400, 4000, 0.008
    )


AMBIGUOUS_FRACTION = 0.35  # fraction of clips of these labels whose hits are such knocks


def basketball(rng, n, rate, beats):
    """Synthesize bounces in a hall, with squeaking shoes."""
    tone, hall = rng.uniform(65, 110), rng.uniform(0.0, 0.3)
    ring = rng.uniform(420, 700)

    def bounce():
        thud = modes(rate, 0.2, (tone, tone * 2.3, ring), (0.04, 0.03, 0.02), (1, 0.5, 0.35))
        slap = burst(rng, 0.2, rate, 250, 2500, 0.012, 0.5) * 0.3
        return thud + slap + hall * burst(rng, 0.2, rate, 100, 1200, 0.12, 1.0)

    if rng.random() < AMBIGUOUS_FRACTION:
        plain = _knock(rng, rate)
        return repeat(rng, n, rate, beats, lambda: plain)
    squeaks = []
    for w in rng.uniform(0, 9, rng.integers(0, 4)):
        m = int(0.12 * rate)
        turn = np.cumsum(glide(m, rate, [(0, 1900), (0.12, 2400)])) / rate
        squeaks.append((w, np.sin(2 * np.pi * turn) * envelope(m, rate, 0.02, 0.05), 0.12))
    return repeat(rng, n, rate, beats, bounce) + mix(n, rate, squeaks)


def tennis(rng, n, rate, beats):
    """Synthesize racket hits and soft bounces."""
    tone = rng.uniform(380, 620)

    def hit():
        return (
            modes(rate, 0.15, (tone, tone * 1.9, tone * 3.1), (0.02, 0.012, 0.008), (1, 0.5, 0.3))
            + burst(rng, 0.15, rate, 500, 4000, 0.008) * 0.4
        )

    if rng.random() < AMBIGUOUS_FRACTION:
        plain = _knock(rng, rate)
        return repeat(rng, n, rate, beats, lambda: plain) + 0.01 * noise(rng, n, rate, 60, 2500, 1)
    bounce = modes(rate, 0.1, (tone * 0.45, tone * 0.9), (0.02, 0.01), (0.8, 0.3))
    soft = mix(n, rate, [(b - rng.uniform(0.3, 0.5), bounce, 0.45) for b in beats if b > 0.5])
    return repeat(rng, n, rate, beats, hit) + soft + 0.01 * noise(rng, n, rate, 60, 2500, 1)


def bowling(rng, n, rate, beats):
    """Synthesize a rolling ball and falling pins."""
    parts = []
    for b in beats:
        roll = min(float(b), rng.uniform(1.2, 2.2))
        m = max(1, int(roll * rate))
        grow = np.linspace(0.15, 1, m)
        parts.append(
            (
                b - roll,
                noise(rng, m, rate, 50, 420, 1.2) * grow * (0.85 + 0.15 * np.sin(np.arange(m) * 2 * np.pi * 9 / rate)),
                0.22,
            )
        )
        pin = [
            modes(rate, 0.12, rng.uniform(700, 1500) * np.array([1, 2.1, 3.3]), (0.02, 0.014, 0.01), (1, 0.7, 0.5))
            for _ in range(3)
        ]
        parts += [(b + d, pin[k % 3], rng.uniform(0.3, 0.9)) for k, d in enumerate(np.sort(rng.exponential(0.12, 14)))]
        parts.append((b, burst(rng, 0.3, rate, 80, 1500, 0.06, 0.7), 0.8))
    return mix(n, rate, parts)


def skateboarding(rng, n, rate, beats):
    """Synthesize rolling wheels, jumps and landings."""
    loud = np.interp(np.arange(n) / rate, np.linspace(0, n / rate, 12), rng.uniform(0.4, 1, 12))
    cracks = np.arange(0.1, n / rate, rng.uniform(0.25, 0.5))
    roll = noise(rng, n, rate, 120, 2200, 0.8) * loud * 0.22
    silent = np.ones(n)
    clack, parts = [], []
    for b in beats:
        jump = rng.uniform(0.25, 0.4)
        silent[int(b * rate) : int((b + jump) * rate)] = 0.05
        clack = burst(rng, 0.12, rate, 400, 4500, 0.018, 0.4) + modes(rate, 0.12, (260, 540), (0.02, 0.015), (0.6, 0.5))
        parts += [(b, clack, 0.8), (b + jump, clack, 1.2)]
    tick = burst(rng, 0.04, rate, 200, 1800, 0.01)
    return roll * silent + mix(n, rate, parts + [(c, tick, 0.4) for c in cracks])


def swimming(rng, n, rate, beats):
    """Synthesize arm strokes with splashes and drops."""

    def stroke():
        m = int(rng.uniform(0.35, 0.6) * rate)
        x = noise(rng, m, rate, 250, 4500, 0.8) * envelope(m, rate, 0.12, 0.3) * 0.5
        drops = []
        for d in rng.uniform(0.05, 0.4, 6):
            k = int(0.05 * rate)
            f = rng.uniform(500, 1300)
            turn = np.cumsum(glide(k, rate, [(0, f), (0.05, f * 1.5)])) / rate
            drops.append((d, np.sin(2 * np.pi * turn) * decay(k, rate, 0.015), 0.5))
        return x + mix(m, rate, drops)

    return repeat(rng, n, rate, beats, stroke) + noise(rng, n, rate, 150, 2500, 1) * 0.06


def typing(rng, n, rate, beats):
    """Synthesize key strokes with pauses."""
    low = rng.uniform(1200, 2200)

    def key():
        down = burst(rng, 0.05, rate, low, low * 3, 0.005) + 0.3 * modes(
            rate, 0.05, (rng.uniform(250, 400),), (0.01,), (1,)
        )
        return mix(int(0.12 * rate), rate, [(0, down, 1), (0.07, down, 0.35)])

    pause = [b for b in beats if np.sin(b * 1.7 + low) > -0.7]
    return repeat(rng, n, rate, pause, key, 6, 0.5)


def striking_pool(rng, n, rate, beats):
    """Synthesize a cue hit and clicking balls."""
    tone = rng.uniform(1900, 3000)

    def clack():
        return modes(rate, 0.06, tone * np.array([1, 1.7, 2.3]), (0.008, 0.006, 0.004), (1, 0.6, 0.3)) + 0.3 * burst(
            rng, 0.06, rate, 1000, 6000, 0.004
        )

    if rng.random() < AMBIGUOUS_FRACTION:
        plain = _knock(rng, rate)
        return repeat(rng, n, rate, beats, lambda: plain) + 0.008 * noise(rng, n, rate, 100, 2000, 1)
    parts = []
    for b in beats:
        cue = modes(rate, 0.06, (rng.uniform(500, 800),), (0.012,), (1,))
        parts += [(max(0, b - rng.uniform(0.15, 0.3)), cue, 0.5)]
        parts += [
            (b + d, clack(), g)
            for d, g in zip([0, *np.sort(rng.exponential(0.25, 3))], (1, 0.5, 0.4, 0.25), strict=True)
        ]
        if rng.random() < 0.4:
            parts.append((b + 0.9, burst(rng, 0.3, rate, 100, 700, 0.06, 0.6), 0.5))
    return mix(n, rate, parts) + 0.008 * noise(rng, n, rate, 100, 2000, 1)


def rope_skipping(rng, n, rate, beats):
    """Synthesize rope whooshes, ticks and landing feet."""
    low = rng.uniform(300, 600)

    def turn():
        m = int(0.2 * rate)
        whoosh = noise(rng, m, rate, low, low * 5, 0.5) * envelope(m, rate, 0.1, 0.06) * 0.25
        tick = burst(rng, 0.06, rate, 900, 5000, 0.007) * 0.9
        feet = modes(rate, 0.1, (rng.uniform(90, 140), 230), (0.025, 0.015), (0.8, 0.3))
        return mix(int(0.36 * rate), rate, [(0, whoosh, 1), (0.17, tick, 1), (0.22, feet, 1)])

    if rng.random() < AMBIGUOUS_FRACTION:
        plain = _knock(rng, rate)
        return repeat(rng, n, rate, beats, lambda: plain, 1, 0.2)
    return repeat(rng, n, rate, np.maximum(beats - 0.17, 0), turn, 4, 0.2)


def hammer(rng, n, rate, beats):
    """Synthesize hits of a nail into wood."""
    tone = rng.uniform(900, 1500)
    wood = modes(rate, 0.15, (rng.uniform(160, 260), 480), (0.025, 0.015), (1, 0.5))
    nail = modes(rate, 0.15, tone * np.array([1, 2.2, 3.6]), (0.035, 0.025, 0.015), (0.7, 0.6, 0.4))
    return repeat(
        rng, n, rate, beats, lambda: wood + nail + 0.3 * burst(rng, 0.15, rate, 800, 6000, 0.006)[: len(wood)]
    )


def scissors(rng, n, rate, beats):
    """Synthesize sliding blades and snips."""

    def snip():
        m = int(rng.uniform(0.16, 0.28) * rate)
        slide = noise(rng, m, rate, 3000, 7800) * glide(m, rate, [(0, 0.05), (m / rate * 0.85, 0.5), (m / rate, 0)])
        return mix(
            m + rate // 10, rate, [(0, slide, 0.6), (m / rate * 0.85, burst(rng, 0.05, rate, 2500, 7000, 0.006), 1)]
        )

    return repeat(rng, n, rate, beats, snip)


def chopping(rng, n, rate, beats):
    """Synthesize a knife on a wooden board."""
    board = rng.uniform(180, 320)

    def chop():
        knock = modes(rate, 0.12, board * np.array([1, 1.8, 3.1]), (0.03, 0.02, 0.012), (1, 0.6, 0.4))
        return knock + 0.35 * burst(rng, 0.12, rate, 1200, 6500, 0.012)

    return repeat(rng, n, rate, beats, chop, 4, 0.4)


def writing(rng, n, rate, beats):
    """Synthesize scratching pencil strokes."""
    low = rng.uniform(1800, 3000)

    def stroke():
        m = int(rng.uniform(0.08, 0.2) * rate)
        return noise(rng, m, rate, low, low * 2.2) * envelope(m, rate, 0.02, 0.04) * rng.uniform(0.4, 1)

    return repeat(rng, n, rate, beats, stroke, 6, 0.5)


def shuffling_cards(rng, n, rate, beats):
    """Synthesize riffles and a tap of the deck."""
    card = burst(rng, 0.015, rate, 1500, 7000, 0.003)
    parts = []
    for b in beats:
        count = int(rng.integers(18, 34))
        times = b + np.cumsum(rng.uniform(0.5, 1.5, count)) * 0.7 / count
        parts += [(w, card, rng.uniform(0.4, 1)) for w in times]
        parts.append((b + 0.85, burst(rng, 0.1, rate, 300, 3000, 0.02), 0.6))
    return mix(n, rate, parts)
