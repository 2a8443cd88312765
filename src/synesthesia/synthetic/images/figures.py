"""Figures that several scenes share: bust, hand, full-length person, bird, wheel, cow."""

import math

from synesthesia.synthetic.images.pen import Pen, paint, shade


def random_look(rng) -> dict:
    """Draw a person's colors and build, once per scene.

    Args:
        rng: Random generator.

    Returns:
        Colors "skin", "hair", "top", "legs"; bool "long_hair"; float "width".
    """
    return {
        "skin": paint(rng, (0.03, 0.09), (0.25, 0.65), (0.35, 0.97)),
        "hair": paint(rng, (0.02, 0.14), (0.2, 0.8), (0.08, 0.75)),
        "top": paint(rng),
        "legs": paint(rng, saturation=(0.1, 0.6), value=(0.15, 0.6)),
        "long_hair": rng.random() < 0.45,
        "width": rng.uniform(0.9, 1.15),
    }


def bust(
    pen: Pen, look: dict, mouth: float = 0.0, eyes_closed: bool = False, tilt: float = 0.0, lift: float = 0.0
) -> Pen:
    """Draw head and shoulders.

    Args:
        pen: Pen of the bust.
        look: Colors and build, see `random_look`.
        mouth: Opening of the mouth, 0 to 1.
        eyes_closed: Whether the eyes are closed.
        tilt: Clockwise rotation of the head in radians.
        lift: Shift of the head upward.

    Returns:
        Pen of the head.
    """
    width = look["width"]
    pen.shape(((-0.95, 1.4), (-0.8, 0.72), (-0.25, 0.5), (0.25, 0.5), (0.8, 0.72), (0.95, 1.4)), look["top"])
    pen.box(-0.18, 0.3, 0.18, 0.6, shade(look["skin"], 0.85))
    head = pen.sub(0, -0.1 - lift, 1, tilt)
    if look["long_hair"]:
        head.disc(0, 0.08, 0.56 * width, 0.74, look["hair"])
    head.disc(0, -0.1, 0.5 * width, 0.6, look["hair"])
    head.disc(0, 0.06, 0.44 * width, 0.56, look["skin"])
    for x in (-0.17, 0.17):
        if eyes_closed:
            head.line(((x - 0.08, -0.02), (x + 0.08, 0.0)), 0.04, (40, 30, 30))
        else:
            head.disc(x, -0.02, 0.08, 0.06, (245, 245, 245))
            head.disc(x, -0.02, 0.04, None, (40, 30, 30))
    head.line(((0, 0.04), (0.05, 0.18), (-0.02, 0.2)), 0.03, shade(look["skin"], 0.7))
    if mouth > 0.12:
        head.disc(0, 0.36, 0.12 + 0.04 * mouth, 0.16 * mouth, (90, 20, 30))
    else:
        head.line(((-0.13, 0.36), (0.13, 0.36)), 0.04, (140, 50, 50))
    return head


def hand(pen: Pen, look: dict, x: float, y: float, size: float = 0.2, sleeve: float | None = None) -> None:
    """Draw a hand.

    Args:
        pen: Pen of the scene.
        look: Colors and build, see `random_look`.
        x: Position.
        y: Position.
        size: Radius.
        sleeve: Angle of the forearm in radians, clockwise from the right; None draws no forearm.
    """
    if sleeve is not None:
        far = (x + 1.2 * math.cos(sleeve), y + 1.2 * math.sin(sleeve))
        pen.line(((x, y), far), size * 1.1, look["top"])
    pen.disc(x, y, size, size * 0.85, look["skin"])
    for k in range(3):
        pen.line(
            ((x - size * 0.6, y - size * 0.4 + k * size * 0.4), (x + size * 0.2, y - size * 0.4 + k * size * 0.4)),
            0.025,
            shade(look["skin"], 0.7),
        )


def body(
    pen: Pen, look: dict, left=(-0.35, 0.3), right=(0.35, 0.3), feet=((-0.18, 1.0), (0.18, 1.0)), lean=0.0
) -> None:
    """Draw a full-length person, head at y = -0.8, soles at y = 1.

    Args:
        pen: Pen of the person.
        look: Colors and build, see `random_look`.
        left: Position of the left hand.
        right: Position of the right hand.
        feet: Positions of the feet.
        lean: Horizontal shift of neck and head.
    """
    hip, neck = (0, 0.3), (lean, -0.5)
    for x, y in feet:
        knee = (0.6 * x + 0.04, (y + hip[1]) / 2)
        pen.line((hip, knee, (x, y)), 0.17, look["legs"])
        pen.disc(x + 0.05, y, 0.13, 0.06, (50, 40, 40))
    if look["long_hair"]:
        pen.disc(lean * 1.2, -0.7, 0.21, 0.28, look["hair"])
    pen.shape(((neck[0] - 0.24, -0.45), (neck[0] + 0.24, -0.45), (0.17, 0.36), (-0.17, 0.36)), look["top"])
    for x, y in (left, right):
        side = math.copysign(0.2, x - lean)
        elbow = ((x + lean + side) / 2 + side * 0.4, (y - 0.4) / 2 + 0.08)
        pen.line(((lean + side, -0.4), elbow, (x, y)), 0.11, look["top"])
        pen.disc(x, y, 0.08, None, look["skin"])
    pen.disc(lean * 1.2, -0.8, 0.18, 0.2, look["hair"])
    pen.disc(lean * 1.2 + 0.03, -0.75, 0.15, 0.18, look["skin"])


def bird(pen: Pen, color, beak, wing: float, belly=None) -> None:
    """Draw a bird from the side, flying to the right; `wing` -1 (down) to 1 (up)."""
    pen.shape(((-0.95, -0.12), (-0.4, -0.08), (-0.4, 0.12), (-0.95, 0.2)), shade(color, 0.8))
    pen.disc(0, 0.03, 0.52, 0.22, color)
    pen.disc(0.05, 0.12, 0.4, 0.13, belly or shade(color, 1.3))
    pen.disc(0.52, -0.14, 0.19, None, color)
    pen.shape(((0.66, -0.2), (0.92, -0.1), (0.66, -0.06)), beak)
    pen.disc(0.57, -0.18, 0.04, None, (10, 10, 10))
    tip = -1.0 * wing
    pen.shape(((0.28, -0.05), (-0.28, -0.02), (-0.55, tip * 0.85), (-0.1, tip)), shade(color, 0.65))
    pen.shape(((0.28, -0.05), (0.02, -0.02), (-0.1, tip), (0.12, tip * 0.8)), shade(color, 0.85))


def wheel(pen: Pen, x: float, y: float, r: float, turn: float, tire=(25, 25, 25), spokes: int = 4) -> None:
    """Draw a wheel, rotated by `turn` radians."""
    pen.disc(x, y, r, None, tire)
    pen.disc(x, y, r * 0.55, None, (190, 190, 195))
    for k in range(spokes):
        a = turn + 2 * math.pi * k / spokes
        pen.line(((x, y), (x + r * 0.55 * math.cos(a), y + r * 0.55 * math.sin(a))), 0.03, (90, 90, 95))


def cow(pen: Pen, coat, patch, nod: float = 0.0) -> None:
    """Draw a cow from the side, head to the right; `nod` lowers the head."""
    for x in (-0.55, -0.38, 0.3, 0.46):
        pen.box(x, 0.2, x + 0.12, 0.8, shade(coat, 0.8))
    pen.disc(0, 0.05, 0.7, 0.38, coat)
    pen.disc(-0.25, -0.05, 0.22, 0.16, patch)
    pen.disc(0.25, 0.1, 0.16, 0.14, patch)
    pen.line(((-0.68, -0.1), (-0.82, 0.1), (-0.8, 0.45)), 0.05, shade(coat, 0.7))
    head = pen.sub(0.62, -0.15 + nod)
    head.shape(((-0.2, 0.1), (0.0, -0.25), (0.3, -0.2), (0.48, 0.1), (0.42, 0.26), (0.1, 0.2)), coat)
    head.disc(0.4, 0.13, 0.13, 0.11, (225, 165, 160))
    head.disc(0.17, -0.08, 0.045, None, (15, 15, 15))
    head.line(((0.0, -0.25), (-0.06, -0.42)), 0.06, (230, 225, 200))
    head.line(((0.18, -0.25), (0.22, -0.42)), 0.06, (230, 225, 200))
    head.shape(((-0.1, -0.18), (-0.32, -0.12), (-0.1, -0.04)), shade(coat, 0.7))
