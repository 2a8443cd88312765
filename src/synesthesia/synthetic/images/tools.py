"""Scenes of tools.

Every scene takes (rng, beats) and returns `draw(pen, t)`, which draws time t (seconds); beats are the times of its
events in seconds. The order of random draws is part of the dataset.
"""

import math

from synesthesia.synthetic.images.figures import hand, random_look
from synesthesia.synthetic.images.pen import count_beats, paint, pulse, seconds_since, seconds_until, shade


def chainsaw(rng, beats):
    """Draw a chainsaw that cuts a trunk."""
    shell = paint(rng, (0.03, 0.16), (0.8, 1), (0.75, 1))
    bark, look = paint(rng, (0.05, 0.1), (0.3, 0.6), (0.3, 0.55)), random_look(rng)

    def draw(pen, t):
        on = count_beats(beats, t) % 2
        pen.box(0.35, -0.2, 1.9, 1.6, bark)
        pen.disc(0.35, 0.7, 0.25, 0.9, (225, 190, 140))
        saw = pen.sub(0.02 * math.sin(t * 43), -0.1 + 0.25 * on * min(1.0, seconds_since(beats, t)), 1, 0.08)
        saw.shape(((-0.2, -0.14), (1.05, -0.12), (1.2, 0.02), (1.05, 0.14), (-0.2, 0.16)), (185, 188, 192))
        for k in range(10):
            x = -0.15 + (0.13 * k + t * 3 * (0.3 + on)) % 1.25
            saw.box(x, -0.2, x + 0.06, -0.12, (60, 60, 60))
            saw.box(1.1 - x, 0.13, 1.16 - x, 0.21, (60, 60, 60))
        saw.shape(((-1.1, -0.25), (-0.15, -0.35), (-0.1, 0.35), (-1.0, 0.4)), shell)
        saw.line(((-0.35, -0.3), (-0.4, -0.6), (-0.75, -0.58), (-0.85, -0.3)), 0.09, (40, 40, 40))
        saw.disc(-0.55, 0.05, 0.17, None, shade(shell, 0.6))
        hand(saw, look, -0.58, -0.58, 0.17, -2.2)
        if on:
            for k in range(8):
                age = (t * 3 + k / 8) % 1
                pen.disc(0.5 - 0.5 * age + 0.1 * (k % 3), 0.25 + 0.8 * age, 0.05, None, (240, 215, 160))

    return draw


def vacuum(rng, beats):
    """Draw a vacuum cleaner that moves over a rug."""
    shell, look = paint(rng, saturation=(0.5, 1), value=(0.4, 0.9)), random_look(rng)
    rug, speed = paint(rng), rng.uniform(1.2, 2.5)

    def draw(pen, t):
        push = 0.35 * math.sin(t * speed)
        pen.shape(((-1.6, 0.75), (1.2, 0.75), (1.6, 1.3), (-1.9, 1.3)), rug)
        pen.shape(((-1.5, 0.8), (1.1, 0.8), (1.2, 0.88), (-1.6, 0.88)), shade(rug, 0.7))
        tank = pen.sub(-0.75, 0.5)
        tank.disc(0, 0, 0.45, 0.32, shell)
        tank.disc(-0.12, 0.26, 0.17, None, (35, 35, 38))
        tank.disc(0.3, 0.26, 0.1, None, (35, 35, 38))
        tank.disc(0.05, -0.08, 0.2, 0.1, shade(shell, 1.4))
        head = (0.75 + push, 0.95)
        pen.line(((-0.4, 0.4), (-0.2, -0.1), (0.1, -0.45), (-0.05 + 0.3 * push, -0.85)), 0.1, (55, 55, 60))
        pen.line(((-0.05 + 0.3 * push, -0.85), head), 0.08, (175, 178, 182))
        pen.shape(
            ((head[0] - 0.35, 0.9), (head[0] + 0.3, 0.9), (head[0] + 0.4, 1.05), (head[0] - 0.4, 1.05)), (40, 40, 44)
        )
        hand(pen, look, -0.05 + 0.3 * push, -0.8, 0.17, -2.6)
        for k in range(5):
            x = head[0] + 0.4 + 0.18 * k * (1 - (t * 2 + k / 5) % 1)
            pen.disc(x, 1.0 - 0.03 * k, 0.03, None, (110, 95, 80))

    return draw


def hammer(rng, beats):
    """Draw a hammer that drives a nail."""
    wood, look = paint(rng, (0.05, 0.11), (0.35, 0.7), (0.5, 0.9)), random_look(rng)
    grip = paint(rng)

    def draw(pen, t):
        k, elapsed, remaining = count_beats(beats, t), seconds_since(beats, t), seconds_until(beats, t)
        lift = min(1.0, elapsed * 4) * min(1.0, remaining * 7)
        pen.box(-2, 0.55, 2, 1.0, wood)
        pen.line(((-2, 0.7), (2, 0.66)), 0.02, shade(wood, 0.75))
        pen.line(((-2, 0.86), (2, 0.88)), 0.02, shade(wood, 0.75))
        for j in range(4):
            pen.disc(-1.2 + 0.28 * j, 0.56, 0.07, 0.03, (130, 130, 135))
        deep = 0.04 * (k % 8)
        pen.line(((0, 0.55), (0, 0.2 + deep)), 0.05, (145, 148, 152))
        pen.box(-0.09, 0.16 + deep, 0.09, 0.22 + deep, (145, 148, 152))
        arm = pen.sub(1.2, 0.1 + deep, 1, 0.95 * lift)
        arm.line(((-1.15, -0.2), (0.15, -0.2)), 0.13, grip)
        arm.box(-1.38, -0.42, -1.06, 0.05, (85, 88, 92))
        arm.shape(((-1.38, -0.42), (-1.06, -0.42), (-1.15, -0.68), (-1.42, -0.62)), (85, 88, 92))
        hand(arm, look, 0.0, -0.2, 0.22, 0.15)

    return draw


def scissors(rng, beats):
    """Draw scissors that cut paper."""
    grip, look = paint(rng, saturation=(0.6, 1)), random_look(rng)
    paper = paint(rng, saturation=(0.0, 0.5), value=(0.8, 1.0))

    def draw(pen, t):
        k, shut = count_beats(beats, t), pulse(beats, t, 0.2)
        cut = min(1.0, 0.12 * (k % 9))
        pen.shape(((-1.5 + cut, 0.03), (-1.5, -0.9), (0.9, -0.9), (0.9, -0.02 - 0.15 * cut)), paper)
        pen.shape(((-1.5 + cut, 0.03), (-1.5, 0.9), (0.9, 0.9), (0.9, 0.05 + 0.15 * cut)), shade(paper, 0.92))
        tool = pen.sub(0.55 - 0.8 * cut, 0.0)
        opened = 0.42 * (1 - shut) + 0.04
        for s in (-1, 1):
            blade = tool.sub(0, 0, 1, s * opened)
            blade.shape(((0.0, -0.09), (0.0, 0.09), (-1.0, 0.0)), (200, 204, 210))
            blade.line(((0.0, 0.0), (0.45, 0.0)), 0.11, (150, 152, 158))
            blade.ring(0.66, 0, 0.22, 0.1, grip)
        tool.disc(0, 0, 0.06, None, (90, 90, 95))
        hand(tool, look, 0.95, 0.05, 0.26, 0.2)

    return draw


def chopping(rng, beats):
    """Draw a knife that slices food on a board."""
    board = paint(rng, (0.06, 0.11), (0.3, 0.6), (0.6, 0.9))
    food = paint(rng, [(0.06, 0.09), (0.25, 0.35), (0.98, 1.01)][int(rng.integers(3))], (0.7, 1), (0.6, 0.95))
    look = random_look(rng)

    def draw(pen, t):
        k, down = (
            count_beats(beats, t),
            1 - min(1.0, seconds_since(beats, t) * 6) * min(1.0, seconds_until(beats, t) * 12),
        )
        pen.shape(((-1.4, 0.95), (-1.2, 0.0), (1.2, 0.0), (1.4, 0.95)), board)
        pen.box(-1.4, 0.95, 1.4, 1.05, shade(board, 0.7))
        length = 0.9 - 0.05 * (k % 14)
        pen.line(((-0.9, 0.45), (-0.9 + length, 0.45)), 0.28, food)
        pen.disc(-0.9 + length, 0.45, 0.05, 0.14, shade(food, 1.3))
        for j in range(k % 14):
            pen.disc(0.3 + 0.1 * j - 0.4 * (j > 7), 0.5 + 0.12 * (j % 3), 0.05, 0.11, shade(food, 1.15))
        hand(pen, look, -0.75, 0.36, 0.22, 3.0)
        knife = pen.sub(-0.85 + length + 0.06, 0.1 - 0.32 * (1 - down), 1, -0.12 * (1 - down))
        knife.shape(((-0.1, -0.2), (1.0, -0.2), (1.0, 0.14), (0.15, 0.16), (-0.15, 0.0)), (208, 212, 218))
        knife.line(((-0.1, -0.2), (1.0, -0.2)), 0.03, (140, 144, 150))
        knife.line(((1.0, -0.08), (1.5, -0.08)), 0.15, (45, 35, 30))
        hand(knife, look, 1.3, -0.06, 0.2, 0.3)

    return draw


def writing(rng, beats):
    """Draw a pencil that fills a page."""
    pencil, look = paint(rng, saturation=(0.6, 1)), random_look(rng)
    lines = rng.random() < 0.6

    def draw(pen, t):
        k = count_beats(beats, t)
        page = pen.sub(0, 0, 1, -0.08)
        page.box(-0.95, -1.1, 0.95, 1.15, (250, 249, 243))
        if lines:
            for row in range(9):
                page.line(((-0.9, -0.8 + 0.22 * row), (0.9, -0.8 + 0.22 * row)), 0.012, (170, 195, 225))
        row, col = (k // 14) % 7, k % 14
        for r in range(row + 1):
            stop = 14 if r < row else col
            dots = [(-0.8 + 0.115 * c, -0.86 + 0.22 * r + 0.045 * math.sin(c * 2.3 + r)) for c in range(stop)]
            if len(dots) > 1:
                page.line(dots, 0.035, (40, 45, 95))
        x, y = -0.8 + 0.115 * col, -0.86 + 0.22 * row + 0.045 * math.sin(t * 23)
        page.line(((x + 0.12, y + 0.12), (x + 0.75, y - 0.5)), 0.1, pencil)
        page.shape(((x, y), (x + 0.05, y + 0.13), (x + 0.14, y + 0.05)), (225, 190, 140))
        page.line(((x + 0.45, y + 0.35), (x + 1.4, y + 1.3)), 0.36, look["top"])
        page.disc(x + 0.38, y + 0.22, 0.27, 0.22, look["skin"])
        page.line(((x + 0.3, y + 0.14), (x + 0.14, y + 0.0)), 0.1, look["skin"])

    return draw
