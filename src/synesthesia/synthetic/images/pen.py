"""Drawing in a picture's own coordinates, and the settings (room, street, night sky, ...) that scenes happen in.

A `Pen` maps scene coordinates to pixels: x to the right, y downwards, (0, 0) the subject's centre; a subject fills
about -1..1 in both directions. Colours are (red, green, blue), 0..255.
"""

import cmath
import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
CIRCLE = [complex(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 19)[:-1]]


def paint(rng, hue: tuple[float, float] = (0, 1), strong=(0.4, 0.9), light=(0.4, 0.95)) -> Color:
    """A random colour; `hue`, `strong` (saturation) and `light` (value) are ranges within 0..1 (hues wrap)."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*strong), rng.uniform(*light))
    return int(255 * red), int(255 * green), int(255 * blue)


def shade(color: Color, factor: float) -> Color:
    """The colour darker (factor < 1) or lighter (> 1)."""
    return tuple(max(0, min(255, int(c * factor))) for c in color)


class Pen:
    """Draws on a picture through a similarity transform: scene point z (complex) -> pixel `turn * z + at`."""

    def __init__(self, draw: ImageDraw.ImageDraw, transform: complex, origin: complex, flip: bool = False):
        self.draw, self.transform, self.origin, self.flip = draw, transform, origin, flip

    def sub(self, x: float, y: float, scale: float = 1.0, angle: float = 0.0, flip: bool = False) -> "Pen":
        """A pen for a part of the picture: its origin at (x, y), scaled, turned clockwise by `angle` (radians)."""
        sign = -1 if self.flip else 1
        pen = Pen(self.draw, self.transform * scale * cmath.exp(1j * sign * angle), self._dot(x, y), self.flip != flip)
        return pen

    def _dot(self, x: float, y: float) -> complex:
        return self.transform * complex(-x if self.flip else x, y) + self.origin

    def _dots(self, points) -> list[tuple[float, float]]:
        out = []
        for x, y in points:
            z = self.transform * complex(-x if self.flip else x, y) + self.origin
            out.append((z.real, z.imag))
        return out

    def shape(self, points, fill: Color) -> None:
        """A filled polygon through (x, y) points."""
        self.draw.polygon(self._dots(points), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Color) -> None:
        """A filled rectangle."""
        self.draw.polygon(self._dots(((x0, y0), (x1, y0), (x1, y1), (x0, y1))), fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float | None, fill: Color) -> None:
        """A filled ellipse with half axes rx and ry (None: a circle)."""
        if ry is None or ry == rx:
            z, r = self._dot(x, y), abs(self.transform) * rx
            self.draw.ellipse((z.real - r, z.imag - r, z.real + r, z.imag + r), fill=fill)
        else:
            self.draw.polygon(self._dots([(x + rx * c.real, y + ry * c.imag) for c in CIRCLE]), fill=fill)

    def line(self, points, width: float, fill: Color) -> None:
        """An open line through points, `width` in scene units (at least a pixel)."""
        wide = max(1, round(abs(self.transform) * width))
        self.draw.line(self._dots(points), fill=fill, width=wide, joint="curve" if wide > 3 else None)

    def ring(self, x: float, y: float, r: float, width: float, fill: Color, start=0.0, end=2 * math.pi) -> None:
        """A circle's line, or the arc of it from `start` to `end` (radians, clockwise from the right)."""
        turns = [start + (end - start) * k / 16 for k in range(17)]
        self.line([(x + r * math.cos(a), y + r * math.sin(a)) for a in turns], width, fill)


def seconds_since(beats, t: float) -> float:
    """Seconds since the last beat at or before t (99 before the first)."""
    k = int(np.searchsorted(beats, t, side="right"))
    return t - float(beats[k - 1]) if k else 99.0


def seconds_until(beats, t: float) -> float:
    """Seconds until the next beat after t (99 after the last)."""
    k = int(np.searchsorted(beats, t, side="right"))
    return float(beats[k]) - t if k < len(beats) else 99.0


def pulse(beats, t: float, fall: float = 0.15) -> float:
    """1 at each beat, falling to 1/e within `fall` seconds; in 0..1."""
    return math.exp(-seconds_since(beats, t) / fall)


def count_beats(beats, t: float) -> int:
    """How many beats have been by time t."""
    return int(np.searchsorted(beats, t, side="right"))


def _ramp(size, top: Color, bottom: Color, start: float = 0.0, end: float = 1.0) -> np.ndarray:
    """(H, W, 3) float picture that goes from `top` at height share `start` to `bottom` at `end`."""
    share = np.clip((np.linspace(0, 1, size[1]) - start) / max(1e-3, end - start), 0, 1)[:, None, None]
    return np.broadcast_to(np.array(top) * (1 - share) + np.array(bottom) * share, (size[1], size[0], 3)).copy()


def draw_background(rng, name: str, size: tuple[int, int]) -> Image.Image:
    """An empty background of `size` (width, height): room, hall, grass, street, night, sky, water, stage or table."""
    line = rng.uniform(0.52, 0.75)
    if name in ("room", "hall"):
        wall = paint(rng, strong=(0.05, 0.45), light=(0.45, 0.95))
        floor = (
            paint(rng, (0.03, 0.13), (0.3, 0.65), (0.3, 0.75))
            if name == "hall"
            else shade(wall, rng.uniform(0.4, 0.75))
        )
        back, front = _ramp(size, shade(wall, 1.1), shade(wall, 0.85)), _ramp(size, shade(floor, 0.8), floor)
    elif name == "grass":
        green = paint(rng, (0.2, 0.36), (0.4, 0.8), (0.3, 0.7))
        back = _ramp(
            size, paint(rng, (0.53, 0.62), (0.1, 0.6), (0.7, 1.0)), paint(rng, (0.5, 0.65), (0.0, 0.25), (0.8, 1.0))
        )
        front = _ramp(size, shade(green, 0.8), shade(green, 1.15), line)
    elif name == "street":
        grey = paint(rng, strong=(0.0, 0.12), light=(0.25, 0.6))
        back = _ramp(
            size, paint(rng, (0.5, 0.65), (0.05, 0.5), (0.5, 1.0)), paint(rng, (0.0, 0.65), (0.0, 0.2), (0.6, 0.95))
        )
        front = _ramp(size, shade(grey, 0.8), shade(grey, 1.1), line)
    elif name in ("night", "stage"):
        dark = paint(rng, (0.55, 0.8) if name == "night" else (0, 1), (0.3, 0.8), (0.05, 0.28))
        back, front = _ramp(size, shade(dark, 0.6), dark), _ramp(size, shade(dark, 0.5), shade(dark, 0.9), line)
    elif name == "sky":
        back = front = _ramp(
            size, paint(rng, (0.52, 0.64), (0.15, 0.7), (0.6, 1)), paint(rng, (0.5, 0.62), (0, 0.35), (0.75, 1))
        )
    elif name == "water":
        blue = paint(rng, (0.46, 0.6), (0.4, 0.85), (0.4, 0.9))
        back = front = _ramp(size, shade(blue, 0.85), shade(blue, 1.15))
    else:  # table: seen from above
        wood = paint(rng, (0.02, 0.13) if rng.random() < 0.6 else (0, 1), (0.1, 0.6), (0.35, 0.9))
        back = front = _ramp(size, wood, shade(wood, rng.uniform(0.75, 1.2)))
    rows = np.linspace(0, 1, size[1])[:, None, None] > line
    flat = np.where(rows, front, back)
    rough = rng.normal(0, rng.uniform(1, 5), (size[1] // 2 + 1, size[0] // 2 + 1, 1)).repeat(2, 0).repeat(2, 1)
    picture = Image.fromarray(np.clip(flat + rough[: size[1], : size[0]], 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    width, height = size
    if name in ("street", "room", "hall", "grass"):  # houses, pictures and furniture, bushes: clutter of no meaning
        for _ in range(int(rng.integers(0, 5))):
            x, w, h = rng.uniform(-0.1, 1) * width, rng.uniform(0.08, 0.28) * width, rng.uniform(0.08, 0.4) * height
            y = line * height - (h if name != "room" else rng.uniform(1, 1.8) * h)
            fill = paint(rng, (0.2, 0.4) if name == "grass" else (0, 1), (0.1, 0.5), (0.3, 0.8))
            if name == "grass":
                draw.ellipse((x, y, x + w, y + 1.6 * h), fill=fill)
            else:
                draw.rectangle((x, y, x + w, y + h), fill=fill)
    if name == "night":
        for x, y in rng.uniform(0, 1, (int(rng.integers(0, 25)), 2)):
            draw.point((x * width, y * line * height), fill=(200, 200, 210))
    return picture
