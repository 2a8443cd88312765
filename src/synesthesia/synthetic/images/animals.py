"""Scenes of animals, and a heart.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import bird, cow
from synesthesia.synthetic.images.pen import count_beats, paint, pulse, seconds_since, shade


def dog_barking(rng, beats):
    """Draw a dog that opens its mouth at each bark."""
    coat = paint(rng, (0.04, 0.12), (0.1, 0.75), (0.2, 0.95))
    ears, collar = rng.random() < 0.5, paint(rng, saturation=(0.7, 1))

    def draw(pen, t):
        bark = pulse(beats, t, 0.13)
        pen = pen.sub(0.06 * bark, -0.04 * bark)
        dark = shade(coat, 0.6)
        wag = 0.25 * math.sin(t * 9)
        pen.line(((-0.75, -0.05), (-1.05, -0.35 + wag)), 0.1, coat)
        for x in (-0.7, -0.5, 0.2, 0.38):
            pen.box(x, 0.15, x + 0.14, 0.85, shade(coat, 0.85))
        pen.disc(-0.15, 0.05, 0.68, 0.3, coat)
        pen.shape(((0.1, 0.1), (0.3, -0.5), (0.62, -0.4), (0.5, 0.15)), coat)
        pen.line(((0.25, -0.14), (0.56, -0.08)), 0.09, collar)
        head = pen.sub(0.5, -0.52, 1, -0.3 * bark)
        head.disc(0, 0, 0.3, 0.26, coat)
        head.shape(((0.15, -0.1), (0.62, -0.02), (0.62, 0.1), (0.15, 0.14)), coat)
        head.shape(((0.12, 0.12), (0.52, 0.14 + 0.2 * bark), (0.48, 0.24 + 0.24 * bark), (0.08, 0.24)), dark)
        if bark > 0.3:
            head.line(((0.2, 0.16), (0.46, 0.18 + 0.15 * bark)), 0.07, (220, 90, 100))
        head.disc(0.62, 0.0, 0.07, None, (15, 15, 15))
        head.disc(0.14, -0.08, 0.05, None, (15, 15, 15))
        if ears:
            head.shape(((-0.22, -0.1), (-0.12, -0.52), (0.06, -0.2)), dark)
        else:
            head.disc(-0.2, 0.08, 0.12, 0.26, dark)

    return draw


def chicken_crowing(rng, beats):
    """Draw a rooster that raises its head to crow."""
    coat = paint(rng, (0.02, 0.12), (0.1, 0.9), (0.35, 1.0))
    tail = paint(rng, (0.3, 0.6), (0.3, 0.8), (0.1, 0.45))

    def draw(pen, t):
        crow = 1.0 if seconds_since(beats, t) < 1.3 else 0.0
        for x in (-0.1, 0.12):
            pen.line(((x, 0.4), (x, 0.88), (x + 0.16, 0.92)), 0.055, (225, 160, 40))
        for k in range(4):
            a = 2.5 + 0.32 * k
            pen.line(
                ((-0.35, 0.05), (-0.35 + 0.6 * math.cos(a), 0.0 - 0.75 * math.sin(a * 0.8))),
                0.17,
                shade(tail, 1 + 0.2 * k),
            )
        pen.disc(-0.02, 0.15, 0.55, 0.37, coat)
        pen.disc(-0.12, 0.16, 0.32, 0.2, shade(coat, 0.7))
        neck = pen.sub(0.3, 0.0, 1, -0.12 * crow)
        neck.shape(
            ((-0.25, 0.15), (0.0, -0.65 - 0.12 * crow), (0.25, -0.6 - 0.12 * crow), (0.22, 0.25)), shade(coat, 1.15)
        )
        head = neck.sub(0.14, -0.68 - 0.12 * crow, 1, -0.5 * crow)
        head.disc(0, 0, 0.19, 0.17, shade(coat, 1.15))
        head.shape(
            ((-0.18, -0.1), (-0.16, -0.36), (-0.06, -0.2), (0.0, -0.4), (0.07, -0.2), (0.15, -0.33), (0.16, -0.06)),
            (215, 30, 35),
        )
        head.shape(((0.16, -0.06), (0.42, -0.02 - 0.08 * crow), (0.16, 0.03)), (235, 180, 50))
        head.shape(((0.14, 0.03), (0.36, 0.06 + 0.12 * crow), (0.12, 0.09)), (215, 160, 40))
        head.disc(0.1, 0.2, 0.075, 0.14, (215, 30, 35))
        head.disc(0.06, -0.04, 0.04, None, (10, 10, 10))

    return draw


def owl_hooting(rng, beats):
    """Draw an owl on a branch at night."""
    coat = paint(rng, (0.05, 0.11), (0.2, 0.6), (0.25, 0.6))
    tufts, branch = rng.random() < 0.6, paint(rng, (0.05, 0.1), (0.3, 0.6), (0.12, 0.3))
    moon = (rng.uniform(-1.2, -0.8), rng.uniform(-1.0, -0.6)) if rng.random() < 0.5 else None

    def draw(pen, t):
        hoot = 1.0 if seconds_since(beats, t) < 1.4 else 0.0
        if moon:
            pen.disc(*moon, 0.28, None, (225, 222, 195))
        pen.line(((-2, 0.85), (-0.4, 0.7), (2, 0.78)), 0.16, branch)
        puff = 0.05 * hoot * (1 + math.sin(t * 6))
        pen.disc(0, 0.2, 0.44 + puff, 0.62, coat)
        pen.disc(0, 0.3, 0.3 + puff, 0.45, shade(coat, 1.35))
        for k in range(6):
            pen.line(
                ((-0.12 + 0.12 * (k % 3), 0.2 + 0.2 * (k // 3)), (-0.08 + 0.12 * (k % 3), 0.28 + 0.2 * (k // 3))),
                0.04,
                coat,
            )
        head = pen.sub(0.12 * math.sin(t * 0.9), -0.4)
        head.disc(0, 0, 0.42, 0.34, coat)
        for x in (-0.17, 0.17):
            head.disc(x, 0.0, 0.18, None, shade(coat, 1.5))
            head.disc(x, 0.0, 0.12, None, (240, 190, 40))
            head.disc(x, 0.0, 0.02 if (t % 3.1) < 0.15 else 0.065, None, (10, 10, 10))
            if tufts:
                head.shape(((x * 1.2, -0.25), (x * 2.1, -0.52), (x * 2.3, -0.12)), coat)
        head.shape(((-0.06, 0.08), (0.06, 0.08), (0, 0.24)), (70, 60, 50))

    return draw


def mosquito_buzzing(rng, beats):
    """Draw a mosquito that flies about."""
    dark = paint(rng, (0.05, 0.12), (0.1, 0.4), (0.12, 0.3))
    paths = rng.uniform(0.5, 1.6, 4)

    def draw(pen, t):
        fly = pen.sub(
            0.8 * math.sin(t * paths[0] * 2 + 1), 0.5 * math.sin(t * paths[1] * 2.3), 0.75, 0.4 * math.sin(t * paths[2])
        )
        flap = math.sin(t * 41)
        for a in (-0.25, 0.05, 0.3):
            fly.line(((a, 0.1), (a * 1.6, 0.38), (a * 2.6 - 0.1, 0.75)), 0.03, dark)
            fly.line(((a, 0.1), (a * 1.4 + 0.1, 0.3), (a * 2.4 + 0.15, 0.7)), 0.025, shade(dark, 1.4))
        for s in (-0.25, 0.05):
            fly.shape(((0.05, -0.06), (s - 0.5, -0.42 - 0.16 * flap), (s - 0.25, -0.6 - 0.16 * flap)), (205, 212, 220))
        fly.disc(-0.4, 0.1, 0.42, 0.09, dark)
        fly.disc(0.05, 0.0, 0.17, 0.14, dark)
        fly.disc(0.27, 0.06, 0.1, None, shade(dark, 0.7))
        fly.line(((0.33, 0.1), (0.72, 0.36)), 0.03, dark)

    return draw


def cricket_chirping(rng, beats):
    """Draw a cricket that rubs its wings in the grass."""
    coat = paint(rng, (0.06, 0.3), (0.3, 0.8), (0.15, 0.45))
    blades = [
        (float(x), float(h), paint(rng, (0.2, 0.35), (0.4, 0.8), (0.25, 0.6)))
        for x, h in zip(rng.uniform(-2, 2, 14), rng.uniform(0.4, 1.6, 14), strict=True)
    ]

    def draw(pen, t):
        rub = pulse(beats, t, 0.1) * math.sin(t * 60)
        for k, (x, h, green) in enumerate(blades):
            pen.shape(((x - 0.09, 1.3), (x + 0.09, 1.3), (x + 0.12 * math.sin(t + k), 1.3 - h)), green)
        bug = pen.sub(0, 0.3, 0.62)
        bug.line(((0.1, 0.1), (-0.45, -0.6), (-0.75, 0.45)), 0.1, shade(coat, 0.8))
        for x in (0.15, 0.4):
            bug.line(((x, 0.12), (x + 0.15, 0.45)), 0.06, shade(coat, 0.7))
        bug.disc(-0.1, 0.05, 0.62, 0.2, coat)
        bug.shape(((0.35, -0.1), (-0.8, -0.18 - 0.12 * rub), (-0.75, 0.05), (0.3, 0.05)), shade(coat, 1.4))
        bug.disc(0.52, 0.0, 0.2, 0.19, shade(coat, 0.75))
        bug.disc(0.6, -0.06, 0.05, None, (230, 220, 180))
        bug.line(((0.6, -0.15), (0.95, -0.6), (1.2, -0.7)), 0.03, coat)
        bug.line(((0.55, -0.15), (0.75, -0.7)), 0.03, coat)

    return draw


def bird_wings_flapping(rng, beats):
    """Draw one to three birds that flap their wings."""
    coat = paint(rng, saturation=(0.0, 0.5), value=(0.3, 0.95))
    flock, drift = int(rng.integers(1, 4)), rng.uniform(0.3, 0.8)
    spots = rng.uniform(-0.7, 0.7, (4, 2))
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        for k in range(flock):
            wing = math.cos(2 * math.pi * t / gap / 2 + k)
            x = 0.5 * math.sin(t * drift + k) + spots[k][0] * (flock > 1)
            size = 1.0 if flock == 1 else 0.62
            bird(pen.sub(x, spots[k][1] * 0.7 + 0.08 * wing, size, -0.15), coat, (225, 150, 50), wing)

    return draw


def duck(rng, beats):
    """Draw a duck on the water."""
    drake = rng.random() < 0.6
    coat = paint(rng, (0.06, 0.12), (0.1, 0.5), (0.45, 1.0))
    head_color = paint(rng, (0.33, 0.45), (0.6, 0.9), (0.25, 0.45)) if drake else shade(coat, 0.85)

    def draw(pen, t):
        quack = pulse(beats, t, 0.15)
        swim = pen.sub(0.35 * math.sin(t * 0.6), 0.03 * math.sin(t * 3))
        swim.shape(((-0.6, 0.1), (-1.0, -0.22), (-0.55, -0.12)), coat)
        swim.disc(-0.1, 0.2, 0.68, 0.36, coat)
        swim.disc(-0.2, 0.14, 0.42, 0.2, shade(coat, 0.7))
        swim.line(((0.4, 0.2), (0.5, -0.3)), 0.26, head_color)
        if drake:
            swim.line(((0.33, 0.02), (0.58, 0.04)), 0.07, (245, 245, 245))
        swim.disc(0.54, -0.42, 0.24, 0.21, head_color)
        swim.shape(
            ((0.72, -0.5), (1.1, -0.42 - 0.1 * quack), (1.08, -0.36 - 0.08 * quack), (0.72, -0.36)), (240, 175, 40)
        )
        swim.shape(((0.72, -0.38), (1.02, -0.32 + 0.14 * quack), (0.7, -0.28)), (220, 150, 30))
        swim.disc(0.6, -0.47, 0.045, None, (10, 10, 10))
        for k in range(3):
            swim.line(((-0.9 - 0.2 * k, 0.5 + 0.1 * k), (0.8 + 0.2 * k, 0.5 + 0.1 * k)), 0.035, (215, 235, 240))

    return draw


def frog(rng, beats):
    """Draw a frog that puffs its throat."""
    skin = paint(rng, (0.18, 0.38), (0.5, 0.9), (0.35, 0.8))
    pad = paint(rng, (0.3, 0.42), (0.5, 0.8), (0.25, 0.5))

    def draw(pen, t):
        puff = pulse(beats, t, 0.3)
        pen.disc(0, 0.72, 1.15, 0.3, pad)
        for s in (-1, 1):
            pen.disc(s * 0.66, 0.42, 0.3, 0.36, shade(skin, 0.8))
            pen.shape(((s * 0.5, 0.75), (s * 1.05, 0.68), (s * 1.0, 0.82)), shade(skin, 0.7))
            pen.line(((s * 0.3, 0.3), (s * 0.3, 0.75)), 0.14, shade(skin, 0.9))
        pen.disc(0, 0.3, 0.6, 0.48, skin)
        pen.disc(0, 0.36, 0.36 + 0.22 * puff, 0.26 + 0.2 * puff, (235, 235, 190))
        pen.disc(0, -0.12, 0.56, 0.32, skin)
        for s in (-1, 1):
            pen.disc(s * 0.34, -0.4, 0.19, None, skin)
            pen.disc(s * 0.34, -0.42, 0.13, None, (240, 220, 90))
            pen.disc(s * 0.34, -0.42, 0.1, 0.04, (10, 10, 10))
        pen.line(((-0.42, -0.05), (0, 0.06), (0.42, -0.05)), 0.045, shade(skin, 0.45))

    return draw


def cattle(rng, beats):
    """Draw a cow with a swinging bell."""
    coat = paint(rng, (0.03, 0.12), (0.0, 0.6), (0.4, 1.0))
    patch = paint(rng, (0.02, 0.1), (0.1, 0.6), (0.1, 0.35))

    def draw(pen, t):
        swing = 0.12 * math.sin(t * 5) * (1 if count_beats(beats, t) % 3 else 0.3)
        cow(pen, coat, patch, 0.1 * math.sin(t * 1.2))
        pen.line(((0.45, -0.1), (0.62, 0.28)), 0.06, (90, 50, 30))
        pen.sub(0.58, 0.25, 1, swing).shape(((-0.09, 0), (0.09, 0), (0.15, 0.25), (-0.15, 0.25)), (205, 165, 60))

    return draw


def heartbeat(rng, beats):
    """Draw a beating heart above an electrocardiogram."""
    red = paint(rng, (0.96, 1.02), (0.6, 0.95), (0.55, 0.9))
    trace = paint(rng, (0.3, 0.45), (0.6, 1), (0.7, 1))
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        big = 1 + 0.2 * pulse(beats, t, 0.12)
        heart = pen.sub(0, -0.25, 0.75 * big)
        heart.disc(-0.36, -0.2, 0.42, None, red)
        heart.disc(0.36, -0.2, 0.42, None, red)
        heart.shape(((-0.76, -0.06), (0.76, -0.06), (0.0, 0.95)), red)
        heart.line(((-0.1, -0.5), (-0.1, -0.85), (0.25, -1.0)), 0.2, shade(red, 0.7))
        heart.line(((0.15, -0.45), (0.3, -0.8)), 0.16, (70, 90, 190))
        dots = []
        for k in range(31):
            x = -1.5 + 0.1 * k
            phase = (x * 0.5 - t) / gap % 1
            dots.append((x, 0.85 - (0.4 if 0.1 < phase < 0.2 else -0.15 if 0.2 <= phase < 0.28 else 0.0)))
        pen.line(dots, 0.05, trace)

    return draw
