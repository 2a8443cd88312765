"""Scenes of people.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import body, bust, hand, random_look
from synesthesia.synthetic.images.pen import count_beats, paint, pulse, seconds_since, seconds_until, shade


def people_coughing(rng, beats):
    """Draw a person who jerks forward at each cough, often with a fist at the mouth."""
    look, fist = random_look(rng), rng.random() < 0.75
    side = rng.uniform(-0.2, 0.1)

    def draw(pen, t):
        elapsed = seconds_since(beats, t)
        jerk = pulse(beats, t, 0.3) * (0.6 + 0.4 * math.cos(elapsed * 17))
        near = elapsed < 1.2 or seconds_until(beats, t) < 0.4
        bust(pen, look, 0.5 * jerk, jerk > 0.25, 0.12 * jerk + 0.06, -0.12 * jerk)
        if fist and near:
            hand(pen, look, 0.06 + side * 0.4, 0.34 + 0.1 * jerk, 0.2, 1.0)
        else:
            hand(pen, look, 0.1 + side, 0.78 + 0.06 * jerk, 0.22, 1.3)

    return draw


def people_sneezing(rng, beats):
    """Draw a person who leans back and sneezes, often into a tissue."""
    look, tissue = random_look(rng), rng.random() < 0.7
    cloth = paint(rng, saturation=(0, 0.1), value=(0.9, 1.0))

    def draw(pen, t):
        elapsed, remaining = seconds_since(beats, t), seconds_until(beats, t)
        back = max(0.0, 1 - remaining / 0.8) if remaining < 0.8 else 0.0
        throw = pulse(beats, t, 0.35)
        head = bust(
            pen,
            look,
            0.9 * back + 0.4 * throw,
            back > 0.2 or throw > 0.2,
            -0.3 * back + 0.25 * throw,
            0.12 * back - 0.18 * throw,
        )
        if tissue and (elapsed < 1.3 or remaining < 1.1):
            head.shape(((-0.3, 0.2), (-0.05, 0.12), (0.3, 0.16), (0.38, 0.5), (0.1, 0.62), (-0.26, 0.52)), cloth)
            hand(head, look, 0.28, 0.5, 0.16, 1.1)
        elif tissue:
            pen.shape(((0.35, 0.85), (0.6, 0.78), (0.7, 1.05), (0.4, 1.1)), cloth)
        if throw > 0.2:
            for k in range(9):
                a, r = -0.35 + 0.22 * k, 0.25 + 0.9 * elapsed + 0.06 * (k % 3)
                head.disc(r * math.sin(a), 0.34 + r * math.cos(a) * 0.7, 0.025, None, (225, 235, 240))

    return draw


def people_whistling(rng, beats):
    """Draw a person with pursed lips."""
    look, fingers = random_look(rng), rng.random() < 0.35
    sway = rng.uniform(1.5, 3)

    def draw(pen, t):
        move = math.sin(t * sway)
        head = bust(pen, look, 0.0, False, 0.06 * move, 0.02 * move)
        head.disc(0, 0.35, 0.14, 0.1, look["skin"])
        head.disc(0, 0.36, 0.08, 0.075, (190, 90, 90))
        head.disc(0, 0.36, 0.03 + 0.012 * pulse(beats, t), None, (60, 15, 20))
        head.disc(-0.26, 0.3, 0.07, 0.05, shade(look["skin"], 0.93))
        head.disc(0.26, 0.3, 0.07, 0.05, shade(look["skin"], 0.93))
        if fingers:
            hand(head, look, 0.24, 0.48, 0.13, 0.9)
            head.line(((0.18, 0.42), (0.03, 0.37)), 0.06, look["skin"])

    return draw


def baby_crying(rng, beats):
    """Draw a baby with tears and an open mouth."""
    look = random_look(rng)
    cloth = paint(rng, saturation=(0.15, 0.5), value=(0.7, 1.0))
    cap = rng.random() < 0.4
    lying = rng.uniform(-0.5, 0.5)

    def draw(pen, t):
        cry = 0.35 + 0.65 * pulse(beats, t, 0.5)
        pen = pen.sub(0, 0, 1, lying)
        pen.disc(0, 0.95, 0.75, 0.6, cloth)
        wave = 0.12 * math.sin(t * 8)
        for x in (-0.7, 0.7):
            pen.line(((x * 0.6, 0.75), (x, 0.5 + wave * x)), 0.2, shade(cloth, 0.9))
            pen.disc(x, 0.45 + wave * x, 0.12, None, look["skin"])
        pen.disc(0, 0, 0.62, 0.56, look["skin"])
        if cap:
            pen.shape(((-0.6, -0.1), (-0.4, -0.5), (0, -0.64), (0.4, -0.5), (0.6, -0.1), (0, -0.28)), cloth)
        else:
            pen.line(((0, -0.55), (0.06, -0.42), (0.14, -0.5)), 0.05, look["hair"])
        for x in (-0.25, 0.25):
            pen.line(((x - 0.11, -0.06), (x, -0.11), (x + 0.11, -0.06)), 0.05, (50, 35, 35))
            pen.disc(x * 1.4, 0.1 + 0.25 * ((t * 0.7 + x) % 1), 0.04, 0.06, (150, 200, 240))
        pen.disc(-0.32, 0.14, 0.12, 0.09, (235, 130, 120))
        pen.disc(0.32, 0.14, 0.12, 0.09, (235, 130, 120))
        pen.disc(0, 0.26, 0.2, 0.06 + 0.15 * cry, (120, 25, 40))
        pen.disc(0, 0.3 + 0.06 * cry, 0.1, 0.07 * cry, (225, 110, 120))

    return draw


def basketball(rng, beats):
    """Draw a player who dribbles a ball."""
    look = random_look(rng)
    ball = paint(rng, (0.04, 0.08), (0.75, 0.95), (0.75, 0.95))
    hoop, stroll = rng.random() < 0.7, rng.uniform(-0.12, 0.12)
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        high = min(seconds_since(beats, t), seconds_until(beats, t)) / (gap / 2)
        y = 0.86 - 0.75 * min(1.0, high) ** 0.6
        if hoop:
            pen.box(-1.25, -1.25, -0.6, -0.75, (240, 240, 240))
            pen.box(-1.05, -1.05, -0.82, -0.85, (200, 60, 40))
            pen.line(((-1.1, -0.72), (-0.7, -0.72)), 0.05, (225, 90, 30))
            for x in (-1.08, -0.94, -0.8):
                pen.line(((x, -0.7), (x + 0.06, -0.45)), 0.02, (235, 235, 235))
        x = stroll * math.sin(t)
        man = pen.sub(x - 0.15, 0)
        body(man, look, (-0.4, 0.1), (0.5, min(0.1, y - 0.2)), ((-0.25, 1), (0.15, 1)), 0.08)
        man.disc(0.52, y, 0.21, None, ball)
        man.line(((0.33, y), (0.71, y)), 0.025, (60, 30, 15))
        man.line(((0.52, y - 0.19), (0.52, y + 0.19)), 0.025, (60, 30, 15))

    return draw


def tennis(rng, beats):
    """Draw a player on a court who swings a racket."""
    look = random_look(rng)
    clay = paint(rng, [(0.03, 0.06), (0.55, 0.62), (0.28, 0.36)][int(rng.integers(3))], (0.5, 0.75), (0.45, 0.75))
    racket = paint(rng, value=(0.2, 0.9))

    def draw(pen, t):
        elapsed, remaining = seconds_since(beats, t), seconds_until(beats, t)
        pen.shape(((-2.2, 1.8), (-1.3, -0.2), (1.3, -0.2), (2.2, 1.8)), clay)
        for a, b in (((-1.75, 1.6), (-1.05, -0.1)), ((1.75, 1.6), (1.05, -0.1)), ((-1.3, 0.45), (1.3, 0.45))):
            pen.line((a, b), 0.035, (245, 245, 245))
        pen.box(-1.6, -0.32, 1.6, 0.02, (60, 70, 70))
        pen.box(-1.6, -0.36, 1.6, -0.3, (250, 250, 250))
        swing = math.exp(-elapsed / 0.2) if elapsed < 1 else 0.0
        ready = max(0.0, 1 - remaining / 0.4)
        angle = -0.5 + 1.1 * ready - 1.6 * swing
        side = 0.25 * math.sin(t * 1.1)
        man = pen.sub(side, 0.25, 0.85)
        grip = (0.45, -0.05 - 0.2 * swing)
        body(man, look, (-0.4, 0.0), grip, ((-0.32, 1), (0.3, 1)), 0.05)
        bat = man.sub(*grip, 1, angle)
        bat.line(((0, 0), (0.28, -0.28)), 0.06, (40, 40, 40))
        bat.disc(0.43, -0.43, 0.21, 0.25, racket)
        bat.disc(0.43, -0.43, 0.15, 0.19, (225, 230, 225))
        way = min(elapsed, 0.5) / 0.5 if elapsed < 1 else 1 - min(remaining, 0.5) / 0.5
        out = 1 - way if elapsed >= 1 else way
        pen.disc(side + 0.6 - 0.5 * out, -0.1 - 0.6 * math.sin(math.pi * out) - 0.1 * out, 0.075, None, (215, 240, 60))

    return draw


def skateboarding(rng, beats):
    """Draw a skater who hops at each event."""
    look, deck = random_look(rng), paint(rng)
    ramp, speed = rng.random() < 0.5, rng.uniform(0.3, 0.7)
    brick = paint(rng, saturation=(0, 0.4), value=(0.4, 0.8))

    def draw(pen, t):
        elapsed = seconds_since(beats, t)
        hop = 0.45 * max(0.0, math.sin(math.pi * min(1.0, elapsed / 0.4)))
        if ramp:
            pen.shape(((-1.8, 1.5), (-1.8, 0.2), (-1.3, 0.75), (-0.6, 1.02), (1.8, 1.1), (1.8, 1.5)), brick)
        for k in range(6):
            x = 1.8 - (t * speed * 2 + k * 0.75) % 4.2
            pen.line(((x, 1.12), (x - 0.15, 1.3)), 0.03, (90, 90, 90))
        man = pen.sub(0.5 * math.sin(t * speed), -hop, 1, -0.35 * (hop > 0.05) + 0.08 * math.sin(t * 2))
        body(man, look, (-0.62, -0.25 - 0.3 * hop), (0.62, -0.3 - 0.3 * hop), ((-0.33, 0.86), (0.3, 0.86)), 0.1)
        man.shape(((-0.68, 0.86), (-0.52, 0.93), (0.52, 0.93), (0.68, 0.86), (0.55, 1.0), (-0.55, 1.0)), deck)
        for x in (-0.4, 0.4):
            man.disc(x, 1.04, 0.085, None, (235, 225, 190))

    return draw


def swimming(rng, beats):
    """Draw a swimmer from above, doing the crawl."""
    look = random_look(rng)
    cap = paint(rng, saturation=(0.6, 0.95), value=(0.6, 1.0))
    lanes = rng.random() < 0.6
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        stroke = 2 * math.pi * ((count_beats(beats, t) + min(1.0, seconds_since(beats, t) / gap)) % 2) / 2
        if lanes:
            for y in (-0.85, 0.95):
                for k in range(12):
                    x = -2.0 + k * 0.36 - (t * 0.3) % 0.36
                    pen.disc(x, y, 0.12, 0.06, (220, 50, 50) if k % 2 else (245, 245, 245))
        for k in range(7):
            x = -1.8 + (k * 0.63 - t * 0.4) % 3.6
            pen.line(((x, -0.5 + 0.31 * (k % 4)), (x + 0.3, -0.53 + 0.31 * (k % 4))), 0.035, (225, 240, 245))
        pen.disc(-0.25, 0.08, 0.75, 0.18, look["skin"])
        pen.disc(-0.55, 0.1, 0.2, 0.17, look["legs"])
        for k, x in enumerate((-1.0, -1.25)):
            pen.disc(x, 0.05 + 0.12 * math.sin(t * 11 + 3 * k), 0.18, 0.11, (240, 248, 250))
        pen.disc(0.6, -0.02, 0.22, 0.2, look["skin"])
        pen.disc(0.57, -0.1, 0.22, 0.16, cap)
        pen.disc(0.72, 0.0, 0.06, 0.05, (20, 30, 60))
        for phase in (0.0, math.pi):
            a = stroke + phase
            x, y = 0.25 + 0.7 * math.cos(a), 0.05 - 0.65 * math.sin(a)
            if y < 0.15:
                pen.line(((0.3, 0.02), ((x + 0.3) / 2 + 0.1, y * 0.7 - 0.1), (x, y)), 0.14, look["skin"])
            else:
                for d in (-0.12, 0.0, 0.13):
                    pen.disc(0.25 + x * 0.8 + d, 0.12 - abs(d), 0.09, 0.12, (240, 248, 250))

    return draw


def rope_skipping(rng, beats):
    """Draw a person who skips a rope."""
    look, rope = random_look(rng), paint(rng, saturation=(0.6, 1), value=(0.6, 1))
    gap = float(beats[1] - beats[0])

    def draw(pen, t):
        phase = min(1.0, seconds_since(beats, t) / gap)
        hop = 0.16 * max(0.0, math.cos(2 * math.pi * phase))
        turn = 2 * math.pi * phase
        man = pen.sub(0, 0.05 - hop)
        low = 1.12 * math.cos(turn)
        wide = 0.55 + 0.35 * abs(math.cos(turn))
        dots = [(wide * math.sin(a) * 1.0, 0.1 + low * math.cos(a)) for a in (-1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2)]
        line = [(-0.52, 0.15), *dots, (0.52, 0.15)]
        if low < 0:
            man.line(line, 0.055, rope)
        body(man, look, (-0.52, 0.15), (0.52, 0.15), ((-0.12, 1.0), (0.12, 1.0)))
        if low >= 0:
            man.line(line, 0.055, rope)

    return draw


def typing(rng, beats):
    """Draw hands on a keyboard."""
    look = random_look(rng)
    keys = [paint(rng, saturation=(0, 0.1), value=(0.1, 0.3)), paint(rng, saturation=(0, 0.1), value=(0.75, 1))]
    base, cap = keys if rng.random() < 0.5 else keys[::-1]
    screen = rng.random() < 0.6
    glow = paint(rng, (0.5, 0.7), (0.1, 0.6), (0.6, 1.0))

    def draw(pen, t):
        k, down = count_beats(beats, t), pulse(beats, t, 0.06)
        if screen:
            pen.box(-0.95, -1.2, 0.95, -0.42, (30, 30, 34))
            pen.box(-0.87, -1.13, 0.87, -0.5, glow)
            for row in range(5):
                length = 0.3 + 0.25 * ((row * 7) % 5) / 2 if row < 4 else 0.04 + 0.02 * (k % 60)
                pen.line(((-0.8, -1.06 + 0.12 * row), (-0.8 + length, -1.06 + 0.12 * row)), 0.035, (50, 60, 80))
        pen.shape(((-1.25, 0.5), (-1.12, -0.25), (1.12, -0.25), (1.25, 0.5)), base)
        for row in range(4):
            for col in range(11):
                x, y = -1.02 + col * 0.205 + 0.03 * (row % 2), -0.19 + row * 0.16
                if row == 3 and 2 < col < 8:
                    continue
                lit = (col * 5 + row * 3 + k) % 17 == 0 and down > 0.3
                pen.box(x - 0.075, y - 0.05, x + 0.075, y + 0.06, shade(cap, 0.7) if lit else cap)
        pen.box(-0.42, 0.31, 0.52, 0.42, cap)
        for side, lift in ((-1, k % 2), (1, (k + 1) % 2)):
            x, y = side * 0.52 + 0.08 * math.sin(k * 2.3), 0.42 - 0.06 * lift * down
            pen.line(((x, y), (x + side * 0.35, y + 1.0)), 0.34, look["top"])
            pen.disc(x, y, 0.27, 0.22, look["skin"])
            for f in range(4):
                fx = x - 0.2 + 0.135 * f
                pen.line(((fx, y - 0.1), (fx, y - 0.32 - 0.06 * ((k + f) % 3 == 0) * down)), 0.1, look["skin"])

    return draw
