"""Scenes of vehicles.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import random_look, wheel
from synesthesia.synthetic.images.pen import paint, pulse, seconds_since, shade


def ambulance(rng, beats):
    """Draw an ambulance with flashing lights."""
    stripe, speed = paint(rng, (0.96, 1.03), (0.7, 1), (0.7, 0.95)), rng.uniform(0.2, 0.7)
    coat = paint(rng, (0.1, 0.17), (0.0, 0.35), (0.88, 1.0))

    def draw(pen, t):
        van = pen.sub(0.5 * math.sin(t * speed), 0.1 + 0.012 * math.sin(t * 25))
        blue = int(t * 5) % 2
        van.box(-0.35, -0.72, -0.1, -0.58, (40, 80, 255) if blue else (190, 205, 235))
        van.box(0.2, -0.72, 0.45, -0.58, (190, 205, 235) if blue else (40, 80, 255))
        van.shape(((-1.15, -0.58), (0.62, -0.58), (0.8, -0.1), (1.18, 0.05), (1.18, 0.5), (-1.15, 0.5)), coat)
        van.shape(((0.4, -0.45), (0.58, -0.45), (0.74, -0.08), (0.4, -0.08)), (90, 130, 160))
        van.box(-1.15, 0.15, 1.18, 0.28, stripe)
        van.box(-0.52, -0.48, -0.36, 0.06, stripe)
        van.box(-0.71, -0.29, -0.17, -0.13, stripe)
        for x in (-0.7, 0.7):
            wheel(van, x, 0.52, 0.24, t * 8)

    return draw


def police_car(rng, beats):
    """Draw a police car with flashing lights."""
    coat = paint(rng, (0.55, 0.7), (0.0, 0.7), (0.15, 0.45))
    speed = rng.uniform(0.2, 0.6)

    def draw(pen, t):
        car = pen.sub(0.5 * math.sin(t * speed + 1), 0.2, 0.9)
        blue = int(t * 6) % 2
        car.box(-0.3, -0.56, 0.0, -0.44, (50, 70, 255) if blue else (60, 20, 25))
        car.box(0.0, -0.56, 0.3, -0.44, (25, 25, 60) if blue else (255, 50, 45))
        car.shape(((-0.6, -0.05), (-0.42, -0.44), (0.38, -0.44), (0.65, -0.05)), coat)
        car.shape(((-0.47, -0.08), (-0.34, -0.38), (-0.02, -0.38), (-0.02, -0.08)), (95, 115, 135))
        car.shape(((0.04, -0.08), (0.04, -0.38), (0.33, -0.38), (0.5, -0.08)), (95, 115, 135))
        car.shape(((-1.2, 0.0), (-1.1, -0.08), (1.0, -0.08), (1.22, 0.1), (1.2, 0.36), (-1.2, 0.36)), coat)
        car.box(-0.45, -0.06, 0.45, 0.34, (205, 208, 215))
        car.disc(0, 0.13, 0.12, None, (200, 165, 50))
        car.disc(1.14, 0.12, 0.09, None, (255, 250, 200))
        for x in (-0.7, 0.72):
            wheel(car, x, 0.38, 0.22, t * 9)

    return draw


def helicopter(rng, beats):
    """Draw a helicopter with a turning rotor."""
    coat = paint(rng, saturation=(0.3, 0.9), value=(0.25, 0.85))
    sway = rng.uniform(0.4, 0.9, 2)

    def draw(pen, t):
        fly = pen.sub(0.35 * math.sin(t * sway[0]), 0.25 * math.sin(t * sway[1]), 1, 0.12 * math.sin(t * 0.7))
        fly.shape(((-0.2, -0.12), (-1.25, -0.18), (-1.25, -0.06), (-0.2, 0.25)), shade(coat, 0.8))
        fly.shape(((-1.2, -0.1), (-1.42, -0.45), (-1.25, -0.45), (-1.05, -0.12)), coat)
        a = t * 23
        fly.line(
            (
                (-1.3 - 0.2 * math.cos(a), -0.25 - 0.2 * math.sin(a)),
                (-1.3 + 0.2 * math.cos(a), -0.25 + 0.2 * math.sin(a)),
            ),
            0.04,
            (60, 60, 60),
        )
        fly.disc(0.12, 0.05, 0.55, 0.36, coat)
        fly.shape(((0.2, -0.24), (0.52, -0.14), (0.64, 0.06), (0.25, 0.08)), (165, 210, 235))
        fly.line(((0.02, -0.28), (0.02, -0.5)), 0.07, (70, 70, 70))
        reach = 1.2 * (0.35 + 0.65 * abs(math.cos(t * 17)))
        fly.line(((0.02 - reach, -0.52), (0.02 + reach, -0.52)), 0.05, (55, 55, 60))
        fly.line(((-0.4, 0.58), (0.62, 0.58), (0.72, 0.5)), 0.05, (60, 60, 60))
        for x in (-0.12, 0.35):
            fly.line(((x, 0.35), (x, 0.58)), 0.04, (60, 60, 60))

    return draw


def train(rng, beats):
    """Draw a train that approaches head-on."""
    coat = paint(rng, saturation=(0.4, 0.95), value=(0.3, 0.85))
    band, rush = paint(rng, (0.1, 0.16), (0.5, 1), (0.8, 1)), rng.uniform(0.02, 0.05)

    def draw(pen, t):
        pen.shape(((-0.35, 0.0), (0.35, 0.0), (1.7, 1.9), (-1.7, 1.9)), (120, 112, 104))
        for s in (-1, 1):
            pen.line(((s * 0.25, 0.0), (s * 1.15, 1.9)), 0.07, (70, 70, 75))
        for k in range(6):
            y = 0.35 + ((k * 0.3 + t * 0.5) % 1.5)
            pen.line(((-0.3 - 0.62 * y, y), (0.3 + 0.62 * y, y)), 0.07, (85, 65, 50))
        front = pen.sub(0.02 * math.sin(t * 11), 0, 0.72 + rush * t)
        front.shape(((-0.72, 0.75), (-0.72, -0.7), (-0.45, -1.0), (0.45, -1.0), (0.72, -0.7), (0.72, 0.75)), coat)
        front.shape(((-0.58, -0.3), (-0.52, -0.72), (0.52, -0.72), (0.58, -0.3)), (40, 55, 70))
        front.line(((0, -0.3), (0, -0.72)), 0.06, coat)
        front.box(-0.72, 0.1, 0.72, 0.28, band)
        front.shape(((-0.8, 0.7), (0.8, 0.7), (0.55, 1.0), (-0.55, 1.0)), (45, 45, 50))
        lit = (255, 250, 205) if seconds_since(beats, t) < 1.8 else (225, 220, 190)
        front.disc(0, -0.86, 0.1, None, lit)
        for s in (-1, 1):
            front.disc(s * 0.48, 0.45, 0.14, None, lit)

    return draw


def steam_engine(rng, beats):
    """Draw a steam locomotive with smoke."""
    coat = paint(rng, value=(0.12, 0.4))
    trim = paint(rng, (0.98, 1.14), (0.6, 1), (0.6, 0.95))

    def draw(pen, t):
        loco = pen.sub(0.15 * math.sin(t * 0.5), 0.1)
        blow = 1.0 if seconds_since(beats, t) < 1.3 else 0.0
        for k in range(6):
            age = (t * 0.5 + k / 6) % 1
            loco.disc(
                0.72 - 1.4 * age,
                -0.6 - 0.75 * age,
                0.12 + 0.26 * age,
                None,
                (225, 225, 228) if k % 2 else (200, 200, 205),
            )
        if blow:
            for k in range(4):
                loco.disc(0.05 + 0.1 * math.sin(t * 9 + k), -0.55 - 0.18 * k, 0.1 + 0.05 * k, None, (250, 250, 250))
        loco.box(-1.15, -0.62, -0.5, 0.35, coat)
        loco.box(-1.22, -0.72, -0.42, -0.6, shade(coat, 0.6))
        loco.box(-1.0, -0.45, -0.65, -0.12, (165, 195, 205))
        loco.box(-0.5, -0.28, 0.95, 0.3, coat)
        loco.disc(0.95, 0.01, 0.1, 0.29, shade(coat, 0.6))
        for x in (-0.3, 0.15, 0.5):
            loco.box(x, -0.28, x + 0.06, 0.3, trim)
        loco.shape(
            ((0.6, -0.28), (0.65, -0.6), (0.55, -0.72), (0.9, -0.72), (0.8, -0.6), (0.85, -0.28)), shade(coat, 0.5)
        )
        loco.disc(0.08, -0.32, 0.13, 0.16, (205, 165, 65))
        loco.shape(((0.95, 0.3), (1.3, 0.72), (0.85, 0.72)), trim)
        for x, r in ((-0.85, 0.28), (-0.2, 0.28), (0.4, 0.22), (0.8, 0.18)):
            wheel(loco, x, 0.73 - r, r, t * 4, trim, 6)
        a = t * 4
        loco.line(
            (
                (-0.85 + 0.14 * math.cos(a), 0.45 + 0.14 * math.sin(a)),
                (-0.2 + 0.14 * math.cos(a), 0.45 + 0.14 * math.sin(a)),
            ),
            0.06,
            (185, 185, 190),
        )
        loco.line(((-2, 0.76), (2, 0.76)), 0.05, (80, 75, 70))

    return draw


def race_car(rng, beats):
    """Draw a race car that passes at each event."""
    coat = paint(rng, saturation=(0.7, 1.0), value=(0.6, 1.0))

    def draw(pen, t):
        for k in range(8):
            pen.box(-2 + 0.5 * k, 0.55, -1.75 + 0.5 * k, 0.68, (225, 40, 40) if k % 2 else (245, 245, 245))
        elapsed = seconds_since(beats, t)
        car = pen.sub(-1.6 + 2.2 * min(elapsed, 1.6) if elapsed < 1.7 else 0.05 * math.sin(t * 15), 0.15, 0.85)
        car.shape(((-1.1, -0.35), (-0.85, -0.35), (-0.8, 0.1), (-1.05, 0.1)), shade(coat, 0.6))
        car.shape(((-1.0, 0.0), (-0.3, -0.28), (0.15, -0.1), (1.25, 0.12), (1.3, 0.28), (-1.0, 0.3)), coat)
        car.disc(-0.05, -0.2, 0.14, None, (240, 240, 240))
        car.box(0.95, 0.25, 1.45, 0.33, shade(coat, 0.6))
        for x in (-0.7, 0.8):
            wheel(car, x, 0.22, 0.27, t * 19)

    return draw


def bicycle(rng, beats):
    """Draw a bicycle with turning wheels, often with a rider."""
    frame, look = paint(rng, saturation=(0.5, 1)), random_look(rng)
    speed, rider = rng.uniform(0.2, 0.5), rng.random() < 0.5

    def draw(pen, t):
        bike = pen.sub(0.45 * math.sin(t * speed), 0.15, 0.9)
        a = t * 5
        for x in (-0.65, 0.65):
            bike.ring(x, 0.35, 0.45, 0.07, (30, 30, 30))
            for k in range(3):
                b = a + k * math.pi / 3
                bike.line(
                    (
                        (x - 0.42 * math.cos(b), 0.35 - 0.42 * math.sin(b)),
                        (x + 0.42 * math.cos(b), 0.35 + 0.42 * math.sin(b)),
                    ),
                    0.02,
                    (150, 150, 150),
                )
        bike.line(((-0.65, 0.35), (-0.25, -0.2), (0.42, -0.22), (0.0, 0.38), (-0.65, 0.35)), 0.07, frame)
        bike.line(((-0.3, -0.35), (0.0, 0.38)), 0.07, frame)
        bike.line(((0.65, 0.35), (0.4, -0.45), (0.6, -0.52)), 0.07, frame)
        bike.line(((-0.45, -0.36), (-0.15, -0.36)), 0.09, (30, 30, 30))
        c = t * 3
        bike.line(
            ((-0.16 * math.cos(c), 0.38 - 0.16 * math.sin(c)), (0.16 * math.cos(c), 0.38 + 0.16 * math.sin(c))),
            0.06,
            (50, 50, 50),
        )
        if rider:
            bike.line(
                ((-0.28, -0.42), (0.1, -0.05 + 0.08 * math.cos(c)), (0.16 * math.cos(c), 0.38 + 0.16 * math.sin(c))),
                0.14,
                look["legs"],
            )
            bike.line(((-0.28, -0.45), (0.02, -1.0)), 0.26, look["top"])
            bike.line(((0.02, -0.92), (0.3, -0.65), (0.55, -0.55)), 0.1, look["top"])
            bike.disc(0.14, -1.2, 0.17, None, look["skin"])
            bike.disc(0.12, -1.28, 0.19, 0.12, frame)

    return draw


def fireworks(rng, beats):
    """Draw rockets that burst over a dark horizon."""
    spots = rng.uniform(-0.75, 0.75, (len(beats), 2))
    colors = [paint(rng, saturation=(0.4, 1), value=(0.85, 1)) for _ in beats]
    rays = int(rng.integers(9, 16))

    def draw(pen, t):
        for b, (x, y), color in zip(beats, spots, colors, strict=True):
            age = t - b
            if -0.6 < age < 0:
                pen.line(
                    ((x, 1.3 + (y - 0.3 - 1.3) * (1 + age / 0.6)), (x, 1.45 + (y - 1.6) * (1 + age / 0.6))),
                    0.03,
                    (255, 225, 150),
                )
            elif 0 <= age < 1.6:
                grow, dim = 1 - math.exp(-age * 3.5), max(0.2, 1 - age / 1.7)
                for k in range(rays):
                    a = 2 * math.pi * k / rays
                    for r0, r1 in ((0.3, 0.55), (0.7, 0.95)):
                        ends = [
                            (
                                x + 0.95 * grow * r * math.cos(a),
                                y * 0.7 - 0.3 + 0.95 * grow * r * math.sin(a) + 0.18 * age**2,
                            )
                            for r in (r0, r1)
                        ]
                        pen.line(ends, 0.05, shade(color, dim))
        pen.box(-3, 1.25, 3, 3, (12, 12, 16))
        if pulse(beats, t, 0.1) > 0.5:
            pen.disc(*spots[max(0, int(sum(beats <= t)) - 1)] * (1, 0.7) - (0, 0.3), 0.16, None, (255, 255, 240))

    return draw
