"""Scenes of instruments and bells.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import bust, random_look
from synesthesia.synthetic.images.pen import count_beats, paint, pulse, seconds_since, shade


def piano(rng, beats):
    """Draw hands on piano keys."""
    look, body = random_look(rng), paint(rng, (0.0, 0.1), (0.0, 0.7), (0.06, 0.4))

    def draw(pen, t):
        k, down = count_beats(beats, t), pulse(beats, t, 0.12)
        pen.box(-2.2, -0.75, 2.2, -0.15, body)
        pen.box(-2.2, -0.18, 2.2, -0.12, (150, 30, 40))
        pen.box(-2.2, -0.12, 2.2, 0.62, (240, 238, 228))
        for j in range(-10, 11):
            x = 0.21 * j
            if (j * 5 + k * 3) % 23 == 0 and down > 0.2:
                pen.box(x, -0.12, x + 0.21, 0.62, (205, 200, 185))
            pen.line(((x, -0.12), (x, 0.62)), 0.015, (120, 118, 110))
        for j in range(-10, 11):
            if j % 7 not in (0, 3):
                pen.box(0.21 * j - 0.065, -0.12, 0.21 * j + 0.065, 0.3, (20, 18, 18))
        for side in (-1, 1):
            x = side * 0.6 + 0.25 * math.sin(k * 1.7 + side) * (1 - 0.3 * down)
            pen.line(((x, 0.55), (x + side * 0.3, 1.8)), 0.36, look["top"])
            pen.disc(x, 0.48, 0.27, 0.2, look["skin"])
            for f in range(5):
                fx = x - 0.24 + 0.12 * f
                pen.line(((fx, 0.42), (fx, 0.2 + 0.08 * ((k + f) % 3 == 0) * down)), 0.09, look["skin"])

    return draw


def drum_kit(rng, beats):
    """Draw a drummer behind a drum kit."""
    shell = paint(rng, saturation=(0.4, 1), value=(0.3, 0.9))
    look = random_look(rng)
    gold = (215, 180, 75)

    def draw(pen, t):
        k, hit = count_beats(beats, t), pulse(beats, t, 0.08)
        player = pen.sub(0, -0.5, 0.5)
        bust(player, look, 0, False, 0.15 * math.sin(k * 1.3))
        for s in (-1, 1):
            pen.line(((s * 1.0, 0.9), (s * 0.95, -0.35)), 0.04, (130, 130, 135))
            lift = 0.06 * math.sin(t * 14) * hit
            pen.disc(s * 0.95, -0.4 + s * lift, 0.42, 0.09, gold)
            pen.disc(s * 0.38, -0.02, 0.31, 0.13, (240, 238, 232))
            pen.box(s * 0.38 - 0.31, 0.0, s * 0.38 + 0.31, 0.27, shell)
            pen.disc(s * 0.38, 0.0, 0.31, 0.11, (240, 238, 232))
            pen.box(s * 0.95 - 0.32, 0.4, s * 0.95 + 0.32, 0.75, shade(shell, 0.85))
            pen.disc(s * 0.95, 0.4, 0.32, 0.11, (235, 232, 225))
        pen.disc(0, 0.62, 0.52, None, shell)
        pen.disc(0, 0.62, 0.43 + 0.03 * hit, None, (238, 236, 228))
        pen.disc(0, 0.62, 0.12, None, shade(shell, 0.7))
        for s in (-1, 1):
            up = -0.5 if (k + (s > 0)) % 2 else -0.1
            tip = (s * (0.45 + 0.3 * (k % 3 == 0)), up * (1 - hit) - 0.1 * hit)
            pen.line(((s * 0.42, -0.3), tip), 0.05, (225, 190, 130))
            pen.disc(s * 0.42, -0.3, 0.1, None, look["skin"])

    return draw


def guitar(rng, beats):
    """Draw a hand that strums a guitar."""
    wood = paint(rng, (0.04, 0.12), (0.45, 0.9), (0.45, 0.95))
    look, slope = random_look(rng), rng.uniform(-0.45, -0.05)

    def draw(pen, t):
        k, elapsed = count_beats(beats, t), seconds_since(beats, t)
        pen.shape(((-0.9, 1.5), (-0.65, -0.6), (0.5, -0.6), (0.8, 1.5)), look["top"])
        body = pen.sub(0, 0.2, 1, slope)
        body.line(((0.3, 0), (1.7, 0)), 0.17, (75, 45, 30))
        for x in range(6):
            body.line(((0.55 + 0.17 * x, -0.08), (0.55 + 0.17 * x, 0.08)), 0.02, (205, 200, 190))
        body.disc(-0.6, 0, 0.48, 0.54, shade(wood, 0.6))
        body.disc(0.12, 0, 0.38, 0.42, shade(wood, 0.6))
        body.disc(-0.6, 0, 0.44, 0.5, wood)
        body.disc(0.12, 0, 0.34, 0.38, wood)
        body.box(-0.35, -0.36, 0.0, 0.36, wood)
        body.disc(0.02, 0, 0.19, None, (35, 20, 15))
        body.box(-0.72, -0.2, -0.64, 0.2, (60, 35, 25))
        shiver = 0.015 * math.sin(t * 50) * math.exp(-elapsed * 4)
        for s in range(-2, 3):
            body.line(((-0.68, 0.035 * s), (0.2, 0.035 * s + shiver), (1.7, 0.03 * s)), 0.012, (235, 230, 215))
        body.line(((1.0 + 0.1 * ((k // 4) % 3), 0.1), (1.1, 0.8)), 0.2, look["skin"])
        strum = 0.22 * math.cos(k * math.pi) * (1 - 2 * min(1, elapsed * 5))
        body.line(((-0.15, strum), (-0.7, 0.55), (-1.2, 0.5)), 0.22, look["top"])
        body.disc(-0.15, strum, 0.15, 0.19, look["skin"])

    return draw


def violin(rng, beats):
    """Draw a person who bows a violin."""
    wood = paint(rng, (0.02, 0.07), (0.6, 0.9), (0.4, 0.7))
    look = random_look(rng)

    def draw(pen, t):
        k, elapsed = count_beats(beats, t), seconds_since(beats, t)
        bust(pen.sub(-0.35, 0.05, 0.85), look, 0, True, -0.15)
        v = pen.sub(0.0, 0.42, 0.8, -0.25)
        v.line(((0.5, 0), (1.5, 0)), 0.1, (40, 25, 20))
        v.disc(-0.35, 0, 0.36, 0.33, wood)
        v.disc(0.3, 0, 0.3, 0.28, wood)
        v.disc(0, 0, 0.28, 0.2, wood)
        v.line(((-0.6, 0), (1.5, 0)), 0.05, (30, 20, 15))
        way = (elapsed if k % 2 else 0.6 - elapsed) * 0.8
        bow = v.sub(0.05, 0, 1, 1.1)
        bow.line(((-1.0 + way, 0), (0.8 + way, 0)), 0.045, (235, 225, 200))
        bow.line(((-1.0 + way, -0.08), (0.8 + way, -0.08)), 0.04, (90, 45, 20))
        bow.disc(0.8 + way, 0, 0.14, None, look["skin"])
        v.disc(1.1 + 0.1 * (k % 3), 0.1, 0.14, None, look["skin"])

    return draw


def harp(rng, beats):
    """Draw a person who plucks a harp."""
    gold, look = paint(rng, (0.09, 0.14), (0.5, 0.9), (0.6, 0.9)), random_look(rng)

    def draw(pen, t):
        k = count_beats(beats, t)
        for s in range(11):
            x = -0.42 + 0.11 * s
            shiver = 0.03 * math.sin(t * 45 + s) if (s + k) % 11 < 2 else 0.0
            pen.line(
                (
                    (x, -0.85 + 0.06 * math.sin(s / 3)),
                    (x + shiver + 0.02, 0.0),
                    (x + 0.02, 0.8 - 0.07 * s + 0.02 * s * s / 5),
                ),
                0.018,
                (245, 240, 225),
            )
        pen.line(((-0.6, -0.95), (-0.35, -0.8), (0.0, -0.95), (0.4, -1.1), (0.7, -0.9)), 0.15, gold)
        pen.line(((-0.6, -1.0), (-0.55, 0.95)), 0.14, gold)
        pen.line(((0.72, -0.9), (0.5, 0.0), (-0.5, 0.92)), 0.17, shade(gold, 0.85))
        pen.box(-0.75, 0.88, 0.0, 1.05, shade(gold, 0.7))
        y = -0.1 + 0.25 * math.sin(k * 0.9)
        pen.line(((0.1 + 0.12 * math.sin(k), y), (0.9, 0.15), (1.3, 0.6)), 0.17, look["top"])
        pen.disc(0.1 + 0.12 * math.sin(k), y, 0.14, 0.11, look["skin"])
        pen.disc(1.1, -0.45, 0.24, 0.28, look["skin"])
        pen.disc(1.18, -0.55, 0.26, 0.25, look["hair"])

    return draw


def church_bell(rng, beats):
    """Draw a swinging bell in a belfry."""
    bronze = paint(rng, (0.07, 0.15), (0.3, 0.8), (0.4, 0.75))
    stone = paint(rng, (0.05, 0.15), (0.05, 0.3), (0.5, 0.85))
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        pen.box(-1.25, -1.2, -0.95, 2.0, stone)
        pen.box(0.95, -1.2, 1.25, 2.0, stone)
        pen.shape(((-1.4, -1.15), (0, -1.7), (1.4, -1.15)), shade(stone, 0.55))
        pen.box(-1.1, -1.05, 1.1, -0.9, (85, 60, 40))
        swing = 0.5 * math.sin(math.pi * (t - beats[0]) / gap + math.pi / 2)
        bell = pen.sub(0, -0.9, 1, swing)
        bell.disc(0.35 * -swing, 1.48, 0.15, None, (60, 50, 40))
        bell.shape(
            (
                (-0.18, 0.12),
                (0.18, 0.12),
                (0.4, 0.35),
                (0.48, 0.95),
                (0.72, 1.3),
                (-0.72, 1.3),
                (-0.48, 0.95),
                (-0.4, 0.35),
            ),
            bronze,
        )
        bell.line(((-0.5, 0.95), (0.5, 0.95)), 0.05, shade(bronze, 0.65))
        bell.shape(((-0.25, 0.3), (-0.12, 0.3), (-0.2, 1.2), (-0.42, 1.2)), shade(bronze, 1.35))
        bell.line(((-0.72, 1.32), (0.72, 1.32)), 0.08, shade(bronze, 0.7))

    return draw


def gong(rng, beats):
    """Draw a gong and a mallet."""
    metal = paint(rng, (0.07, 0.13), (0.5, 0.9), (0.5, 0.85))
    wood, look = paint(rng, (0.0, 0.08), (0.4, 0.9), (0.2, 0.5)), random_look(rng)

    def draw(pen, t):
        elapsed = seconds_since(beats, t)
        pen.line(((-1.0, 1.1), (-1.0, -1.0), (1.0, -1.0), (1.0, 1.1)), 0.13, wood)
        swing = 0.12 * math.sin(elapsed * 5) * math.exp(-elapsed * 0.7)
        disc = pen.sub(swing, 0.05, 1 - 0.03 * abs(swing))
        disc.line(((-0.4, -0.6), (-0.4, -1.0)), 0.03, (230, 220, 200))
        disc.line(((0.4, -0.6), (0.4, -1.0)), 0.03, (230, 220, 200))
        disc.disc(0, 0, 0.78, None, shade(metal, 0.6))
        disc.disc(0, 0, 0.7, None, metal)
        disc.disc(0, 0, 0.45, None, shade(metal, 0.85))
        disc.disc(0, 0, 0.22, None, shade(metal, 1.3))
        near = math.exp(-elapsed * 2.5)
        x, y = 1.05 - 0.8 * near, 0.6 - 0.5 * near
        pen.line(((x, y), (1.7, 1.2)), 0.07, (120, 80, 50))
        pen.disc(x, y, 0.19, None, (225, 215, 200))
        pen.disc(1.65, 1.15, 0.2, None, look["skin"])

    return draw
