"""Scenes of objects: weather, alarms, games.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import hand, random_look
from synesthesia.synthetic.images.pen import count_beats, paint, pulse, seconds_since, seconds_until, shade


def thunder(rng, beats):
    """Draw clouds that flash, with lightning and rain."""
    cloud = paint(rng, (0.55, 0.7), (0.05, 0.3), (0.15, 0.4))
    puffs = rng.uniform(-1, 1, (9, 2))
    zigzag = rng.uniform(-0.25, 0.25, (max(1, len(beats)), 6))
    rain = rng.random() < 0.6

    def draw(pen, t):
        flash = pulse(beats + 0.0, t, 0.18)
        if flash > 0.55:
            pen.box(-4, -4, 4, 4, (175, 180, 210))
        elif flash > 0.2:
            pen.box(-4, -4, 4, 4, (85, 88, 115))
        for k, (x, y) in enumerate(puffs):
            pen.disc(
                x * 1.5 + 0.05 * math.sin(t * 0.5 + k),
                -0.75 + 0.3 * y,
                0.55,
                0.3,
                shade(cloud, 0.8 + 0.05 * k + 0.6 * flash),
            )
        if flash > 0.3:
            k = (count_beats(beats, t) - 1) % len(zigzag)
            x = 2.5 * zigzag[k][0]
            pen.line([(x + zigzag[k][j], -0.5 + 0.32 * j) for j in range(6)], 0.07, (255, 252, 225))
        if rain:
            for k in range(14):
                x, y = -2 + (k * 0.31 + t * 0.2) % 4, -0.4 + (k * 0.73 + t * 2.9) % 1.9
                pen.line(((x, y), (x - 0.04, y + 0.18)), 0.02, (130, 140, 160))

    return draw


def smoke_detector(rng, beats):
    """Draw a smoke detector whose light flashes."""
    shell = paint(rng, (0.08, 0.16), (0.0, 0.12), (0.85, 1.0))
    smoke = rng.random() < 0.4

    def draw(pen, t):
        pen = pen.sub(0.04 * math.sin(t * 0.7), 0.04 * math.sin(t * 0.9), 0.7)
        pen.disc(0.03, 0.05, 0.86, 0.68, shade(shell, 0.55))
        pen.disc(0, 0, 0.84, 0.66, shell)
        pen.disc(0, -0.02, 0.6, 0.46, shade(shell, 0.9))
        for k in range(8):
            a = 2 * math.pi * k / 8
            pen.line(
                ((0.3 * math.cos(a), 0.22 * math.sin(a)), (0.5 * math.cos(a), 0.38 * math.sin(a))),
                0.035,
                shade(shell, 0.55),
            )
        pen.disc(0, 0, 0.15, 0.12, shade(shell, 0.97))
        pen.disc(0.36, 0.3, 0.07, None, (255, 30, 30) if seconds_since(beats, t) < 0.4 else (110, 30, 30))
        if smoke:
            for k in range(4):
                age = (t * 0.25 + k / 4) % 1
                pen.disc(-1 + 0.4 * k + 0.2 * math.sin(t + k), 1.3 - 1.3 * age, 0.3, 0.18, (165, 165, 170))

    return draw


def bowling(rng, beats):
    """Draw a ball that knocks pins over."""
    lane = paint(rng, (0.07, 0.12), (0.3, 0.6), (0.7, 0.95))
    ball = paint(rng, saturation=(0.5, 1), value=(0.2, 0.7))
    falls = rng.uniform(-1, 1, (10, 2))
    pins = [(0.25 * (c - r / 2), 0.14 * r) for r in range(3, -1, -1) for c in range(r + 1)]

    def draw(pen, t):
        elapsed, remaining = seconds_since(beats, t), seconds_until(beats, t)
        pen.box(-3, -1.15, 3, -0.72, (60, 45, 90))
        pen.shape(((-0.6, -0.55), (0.6, -0.55), (1.5, 1.8), (-1.5, 1.8)), lane)
        for x in (-0.35, -0.1, 0.15, 0.38):
            pen.line(((x, -0.5), (x * 2.4, 1.8)), 0.015, shade(lane, 0.8))
        for s in (-1, 1):
            pen.shape(((s * 0.62, -0.55), (s * 0.78, -0.55), (s * 1.95, 1.8), (s * 1.55, 1.8)), (50, 50, 58))
        pen.box(-0.85, -1.0, 0.85, -0.5, (25, 22, 30))
        down = min(1.0, elapsed / 0.5) if elapsed < 2.0 else 0.0
        for k, (x, y) in enumerate(pins):
            angle = falls[k][0] * 1.9 * down
            pin = pen.sub(
                x * 1.45 + 0.3 * falls[k][0] * down,
                -0.42 - y * 0.8 - 0.25 * abs(falls[k][1]) * down * (1 - down),
                0.75,
                angle,
            )
            pin.disc(0, -0.12, 0.1, 0.2, (248, 246, 240))
            pin.disc(0, -0.4, 0.065, 0.12, (248, 246, 240))
            pin.line(((-0.06, -0.3), (0.06, -0.3)), 0.04, (215, 40, 40))
        if remaining < 1.6 or elapsed < 0.15:
            far = remaining / 1.6 if remaining < 1.6 else 0.0
            y = -0.42 + 1.6 * far**1.5
            r = 0.15 + 0.2 * far
            pen.disc(0.15 * far, y - r / 2, r, None, ball)
            pen.disc(0.15 * far - r / 3, y - r * 0.8, r / 5, None, shade(ball, 1.8))

    return draw


def slot_machine(rng, beats):
    """Draw a slot machine with spinning reels."""
    box = paint(rng, saturation=(0.6, 1), value=(0.5, 0.95))
    fruit = [(225, 40, 45), (245, 210, 50), (120, 60, 170), (60, 170, 70)]

    def draw(pen, t):
        spin, k = seconds_since(beats, t) < 0.9, count_beats(beats, t)
        pull = max(0.0, 1 - abs(seconds_since(beats, t) - 0.15) / 0.25)
        pen.line(((0.85, 0.3), (1.15, 0.25), (1.15, -0.5 + 0.6 * pull)), 0.09, (165, 165, 175))
        pen.disc(1.15, -0.55 + 0.6 * pull, 0.15, None, (220, 30, 40))
        pen.shape(((-0.85, 1.1), (-0.85, -0.7), (-0.6, -1.1), (0.6, -1.1), (0.85, -0.7), (0.85, 1.1)), box)
        for j in range(7):
            on = (j + int(t * 6)) % 2
            pen.disc(-0.54 + 0.18 * j, -0.85, 0.075, None, (255, 240, 130) if on else (170, 120, 40))
        pen.box(-0.72, -0.6, 0.72, 0.25, (35, 30, 40))
        for reel in range(3):
            x = -0.45 + 0.45 * reel
            pen.box(x - 0.19, -0.53, x + 0.19, 0.18, (250, 250, 245))
            roll = (t * (5 + reel)) % 1 if spin and seconds_since(beats, t) < 0.4 + 0.22 * reel else 0.0
            for row in (-1, 0, 1):
                y = -0.17 + 0.35 * (row + roll)
                if -0.48 < y < 0.14:
                    color = fruit[(k * (reel + 2) + row + reel + int(t * 5) * (roll > 0)) % 4]
                    pen.disc(x, y, 0.12, None, color)
                    pen.line(((x, y - 0.1), (x + 0.06, y - 0.17)), 0.03, (40, 110, 40))
        pen.line(((-0.72, -0.17), (0.72, -0.17)), 0.02, (220, 30, 30))
        pen.box(-0.6, 0.42, 0.6, 0.55, shade(box, 0.6))
        for j in range(3):
            pen.disc(-0.4 + 0.4 * j, 0.48, 0.08, 0.06, (255, 220, 90) if (int(t * 4) + j) % 3 else (255, 120, 60))
        pen.shape(((-0.6, 0.75), (0.6, 0.75), (0.5, 1.0), (-0.5, 1.0)), (45, 40, 45))
        for j in range(5):
            pen.disc(-0.35 + 0.17 * j, 0.9 - 0.03 * ((k + j) % 3), 0.09, 0.06, (235, 200, 80))

    return draw


def pool(rng, beats):
    """Draw a pool table with a cue and moving balls."""
    cloth = paint(rng, (0.3, 0.45) if rng.random() < 0.7 else (0.55, 0.62), (0.6, 0.95), (0.35, 0.65))
    rail = paint(rng, (0.02, 0.08), (0.5, 0.8), (0.25, 0.5))
    colors = [paint(rng, saturation=(0.7, 1), value=(0.5, 1)) for _ in range(7)]
    spots, ways = rng.uniform(-0.8, 0.8, (7, 2)), rng.uniform(-0.5, 0.5, (7, 2))
    aim = rng.uniform(-0.7, 0.7)

    def draw(pen, t):
        k, elapsed, remaining = count_beats(beats, t), seconds_since(beats, t), seconds_until(beats, t)
        pen.box(-1.5, -0.95, 1.5, 0.95, rail)
        pen.box(-1.36, -0.81, 1.36, 0.81, cloth)
        for x in (-1.36, 0, 1.36):
            for y in (-0.81, 0.81):
                pen.disc(x, y, 0.11, None, (10, 10, 10))
        slide = 1 - math.exp(-min(elapsed, 5) * 2)
        for j, color in enumerate(colors):
            shift = (k - 1 + slide if k else 0) * 0.6
            x = 1.15 * math.sin(spots[j][0] * 2 + ways[j][0] * shift)
            y = 0.68 * math.sin(spots[j][1] * 2 + ways[j][1] * shift)
            pen.disc(x, y, 0.11, None, color)
            pen.disc(x - 0.03, y - 0.04, 0.035, None, (250, 250, 250))
        white = 0.6 * slide if elapsed < 1.5 else 0.0
        wx, wy = -0.5 + white * math.cos(aim), 0.2 + white * math.sin(aim)
        pen.disc(wx, wy, 0.12, None, (252, 252, 248))
        if remaining < 1.2 or elapsed < 0.3:
            back = 0.2 + 0.25 * math.sin(min(remaining, 1.2) * 3) if remaining < 1.2 else 0.1
            tip = (-0.5 - back * math.cos(aim), 0.2 - back * math.sin(aim))
            pen.line((tip, (tip[0] - 1.9 * math.cos(aim), tip[1] - 1.9 * math.sin(aim))), 0.07, (220, 180, 115))

    return draw


def alarm_clock(rng, beats):
    """Draw an alarm clock that shakes."""
    shell = paint(rng, saturation=(0.5, 1), value=(0.5, 0.95))
    hours = rng.uniform(0, 2 * math.pi)

    def draw(pen, t):
        shake = 0.06 * math.sin(t * 47) * (seconds_since(beats, t) < 0.5)
        c = pen.sub(shake, 0.1, 1, shake * 1.5)
        for s in (-1, 1):
            c.line(((s * 0.4, 0.6), (s * 0.58, 0.95)), 0.12, shade(shell, 0.6))
            c.sub(s * 0.45, -0.72, 1, s * 0.6).shape(
                ((-0.32, 0.1), (-0.2, -0.12), (0.2, -0.12), (0.32, 0.1)), shade(shell, 0.8)
            )
        c.line(((0, -0.7), (0, -0.95)), 0.06, (80, 80, 80))
        c.disc(0, -0.95, 0.09, None, (80, 80, 80))
        c.disc(0, 0, 0.76, None, shell)
        c.disc(0, 0, 0.6, None, (250, 248, 238))
        for k in range(12):
            a = math.pi * k / 6
            c.disc(0.5 * math.cos(a), 0.5 * math.sin(a), 0.035, None, (40, 40, 40))
        c.line(((0, 0), (0.3 * math.cos(hours), 0.3 * math.sin(hours))), 0.07, (20, 20, 20))
        c.line(((0, 0), (0.45 * math.cos(hours * 12), 0.45 * math.sin(hours * 12))), 0.045, (20, 20, 20))
        c.line(((0, 0), (0.45 * math.cos(t * 0.63), 0.45 * math.sin(t * 0.63))), 0.02, (220, 30, 30))

    return draw


def telephone(rng, beats):
    """Draw a rotary telephone that rings."""
    shell = paint(rng, value=(0.08, 0.75), saturation=(0.1, 0.95))

    def draw(pen, t):
        ring = seconds_since(beats, t) < 1.3
        jump = 0.04 * math.sin(t * 60) if ring else 0.0
        pen.shape(((-0.85, 0.85), (-0.5, -0.15), (0.5, -0.15), (0.85, 0.85)), shell)
        pen.box(-0.9, 0.82, 0.9, 0.95, shade(shell, 0.6))
        pen.disc(0, 0.38, 0.37, None, (240, 238, 230))
        for k in range(10):
            a = 0.6 * k - 2.2
            pen.disc(0.26 * math.cos(a), 0.38 + 0.26 * math.sin(a), 0.06, None, shade(shell, 0.7))
        pen.disc(0, 0.38, 0.11, None, shade(shell, 0.9))
        for s in (-1, 1):
            pen.box(s * 0.42 - 0.05, -0.42, s * 0.42 + 0.05, -0.1, shade(shell, 0.7))
        top = pen.sub(jump, -0.45 + jump, 1, jump)
        top.line(((-0.8, 0.05), (-0.5, -0.16), (0.5, -0.16), (0.8, 0.05)), 0.2, shade(shell, 1.15))
        for s in (-1, 1):
            top.disc(s * 0.8, 0.1, 0.24, 0.2, shade(shell, 1.15))
        if ring:
            for s in (-1, 1):
                for r in (0.3, 0.5):
                    top.ring(
                        s * 0.95,
                        -0.3,
                        r,
                        0.035,
                        (245, 225, 90),
                        -0.9 if s > 0 else math.pi - 0.6,
                        0.6 if s > 0 else math.pi + 0.9,
                    )

    return draw


def shuffling_cards(rng, beats):
    """Draw hands that shuffle cards."""
    look, back = (
        random_look(rng),
        paint(rng, (0.95, 1.02) if rng.random() < 0.5 else (0.58, 0.68), (0.6, 0.95), (0.4, 0.85)),
    )

    def draw(pen, t):
        elapsed = seconds_since(beats, t)
        mix = min(1.0, elapsed / 0.85)
        for s in (-1, 1):
            for k in range(7):
                lag = max(0.0, min(1.0, mix * 1.8 - k * 0.12))
                x = s * (0.62 - 0.5 * lag)
                card = pen.sub(x, 0.3 - 0.06 * k - 0.25 * math.sin(math.pi * lag), 1, s * (0.45 - 0.4 * lag))
                card.box(-0.42, -0.3, 0.42, 0.3, (250, 250, 248))
                card.box(-0.36, -0.24, 0.36, 0.24, back)
            hand(pen, look, s * (0.98 - 0.2 * mix), 0.3, 0.26, 1.0 if s > 0 else math.pi - 1.0)
        card = pen.sub(0.0, -0.75, 0.9, 0.15)
        card.box(-0.25, -0.33, 0.25, 0.33, (252, 252, 250))
        card.disc(-0.07, -0.05, 0.09, None, (215, 30, 40))
        card.disc(0.07, -0.05, 0.09, None, (215, 30, 40))
        card.shape(((-0.15, -0.01), (0.15, -0.01), (0, 0.2)), (215, 30, 40))

    return draw
