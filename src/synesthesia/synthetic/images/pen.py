"""Drawing primitives in scene coordinates, timing of events, and backgrounds (room, street, night sky, ...).

A `Pen` maps scene coordinates to pixels: x points right, y down, (0, 0) is the subject's center; a subject fills about
-1..1 in both directions. Colors are (red, green, blue), 0..255.
"""

import cmath
import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
CIRCLE = [complex(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 19)[:-1]]


def paint(rng, hue: tuple[float, float] = (0, 1), saturation=(0.4, 0.9), value=(0.4, 0.95)) -> Color:
    """Draw a random color.

    Args:
        rng: Random generator.
        hue: Range of the hue, 0 to 1; values beyond wrap.
        saturation: Range of the saturation within 0..1.
        value: Range of the value (brightness) within 0..1.

    Returns:
        The color.
    """
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return int(255 * red), int(255 * green), int(255 * blue)


def shade(color: Color, factor: float) -> Color:
    """Return a color darkened (factor < 1) or lightened (factor > 1)."""
    red, green, blue = (max(0, min(255, int(c * factor))) for c in color)
    return red, green, blue


class Pen:
    """Draws on an image through a similarity transform: scene point z (complex) -> pixel `transform * z + origin`."""

    def __init__(self, draw: ImageDraw.ImageDraw, transform: complex, origin: complex, flip: bool = False) -> None:
        """Create a pen.

        Args:
            draw: Canvas.
            transform: Scale and rotation as a complex factor.
            origin: Pixel of the scene's origin as a complex number.
            flip: Whether to mirror left and right.
        """
        self.draw, self.transform, self.origin, self.flip = draw, transform, origin, flip

    def sub(self, x: float, y: float, scale: float = 1.0, angle: float = 0.0, flip: bool = False) -> "Pen":
        """Create a pen for a part of the scene.

        Args:
            x: Origin of the part.
            y: Origin of the part.
            scale: Scale factor.
            angle: Clockwise rotation in radians.
            flip: Whether to mirror left and right.

        Returns:
            The pen.
        """
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
        """Draw a filled polygon through (x, y) points."""
        self.draw.polygon(self._dots(points), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Color) -> None:
        """Draw a filled rectangle."""
        self.draw.polygon(self._dots(((x0, y0), (x1, y0), (x1, y1), (x0, y1))), fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float | None, fill: Color) -> None:
        """Draw a filled ellipse with half axes rx and ry (None: a circle)."""
        if ry is None or ry == rx:
            z, r = self._dot(x, y), abs(self.transform) * rx
            self.draw.ellipse((z.real - r, z.imag - r, z.real + r, z.imag + r), fill=fill)
        else:
            self.draw.polygon(self._dots([(x + rx * c.real, y + ry * c.imag) for c in CIRCLE]), fill=fill)

    def line(self, points, width: float, fill: Color) -> None:
        """Draw an open line through points, `width` in scene units (at least one pixel)."""
        pixels = max(1, round(abs(self.transform) * width))
        self.draw.line(self._dots(points), fill=fill, width=pixels, joint="curve" if pixels > 3 else None)

    def ring(self, x: float, y: float, r: float, width: float, fill: Color, start=0.0, end=2 * math.pi) -> None:
        """Draw a circle, or its arc from `start` to `end` (radians, clockwise from the right)."""
        angles = [start + (end - start) * k / 16 for k in range(17)]
        self.line([(x + r * math.cos(a), y + r * math.sin(a)) for a in angles], width, fill)


def seconds_since(beats, t: float) -> float:
    """Return the seconds since the last beat at or before t (99 before the first)."""
    k = int(np.searchsorted(beats, t, side="right"))
    return t - float(beats[k - 1]) if k else 99.0


def seconds_until(beats, t: float) -> float:
    """Return the seconds until the next beat after t (99 after the last)."""
    k = int(np.searchsorted(beats, t, side="right"))
    return float(beats[k]) - t if k < len(beats) else 99.0


def pulse(beats, t: float, fall: float = 0.15) -> float:
    """Return an envelope that is 1 at each beat and falls to 1/e within `fall` seconds."""
    return math.exp(-seconds_since(beats, t) / fall)


def count_beats(beats, t: float) -> int:
    """Count the beats at or before t."""
    return int(np.searchsorted(beats, t, side="right"))


def _ramp(size, top: Color, bottom: Color, start: float = 0.0, end: float = 1.0) -> np.ndarray:
    """Create a vertical gradient, float (H, W, 3), from `top` at the height fraction `start` to `bottom` at `end`."""
    fraction = np.clip((np.linspace(0, 1, size[1]) - start) / max(1e-3, end - start), 0, 1)[:, None, None]
    return np.broadcast_to(np.array(top) * (1 - fraction) + np.array(bottom) * fraction, (size[1], size[0], 3)).copy()


def draw_background(rng, name: str, size: tuple[int, int]) -> Image.Image:
    """Draw a random background.

    Args:
        rng: Random generator.
        name: "room", "hall", "grass", "street", "night", "sky", "water", "stage" or "table".
        size: (width, height) in pixels.

    Returns:
        The image.
    """
    horizon = rng.uniform(0.52, 0.75)
    if name in ("room", "hall"):
        wall = paint(rng, saturation=(0.05, 0.45), value=(0.45, 0.95))
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
        front = _ramp(size, shade(green, 0.8), shade(green, 1.15), horizon)
    elif name == "street":
        grey = paint(rng, saturation=(0.0, 0.12), value=(0.25, 0.6))
        back = _ramp(
            size, paint(rng, (0.5, 0.65), (0.05, 0.5), (0.5, 1.0)), paint(rng, (0.0, 0.65), (0.0, 0.2), (0.6, 0.95))
        )
        front = _ramp(size, shade(grey, 0.8), shade(grey, 1.1), horizon)
    elif name in ("night", "stage"):
        dark = paint(rng, (0.55, 0.8) if name == "night" else (0, 1), (0.3, 0.8), (0.05, 0.28))
        back, front = _ramp(size, shade(dark, 0.6), dark), _ramp(size, shade(dark, 0.5), shade(dark, 0.9), horizon)
    elif name == "sky":
        back = front = _ramp(
            size, paint(rng, (0.52, 0.64), (0.15, 0.7), (0.6, 1)), paint(rng, (0.5, 0.62), (0, 0.35), (0.75, 1))
        )
    elif name == "water":
        blue = paint(rng, (0.46, 0.6), (0.4, 0.85), (0.4, 0.9))
        back = front = _ramp(size, shade(blue, 0.85), shade(blue, 1.15))
    else:  # table, from above
        wood = paint(rng, (0.02, 0.13) if rng.random() < 0.6 else (0, 1), (0.1, 0.6), (0.35, 0.9))
        back = front = _ramp(size, wood, shade(wood, rng.uniform(0.75, 1.2)))
    rows = np.linspace(0, 1, size[1])[:, None, None] > horizon
    flat = np.where(rows, front, back)
    texture = rng.normal(0, rng.uniform(1, 5), (size[1] // 2 + 1, size[0] // 2 + 1, 1)).repeat(2, 0).repeat(2, 1)
    image = Image.fromarray(np.clip(flat + texture[: size[1], : size[0]], 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    width, height = size
    if name in ("street", "room", "hall", "grass"):  # clutter: houses, furniture, bushes
        for _ in range(int(rng.integers(0, 5))):
            x, w, h = rng.uniform(-0.1, 1) * width, rng.uniform(0.08, 0.28) * width, rng.uniform(0.08, 0.4) * height
            y = horizon * height - (h if name != "room" else rng.uniform(1, 1.8) * h)
            fill = paint(rng, (0.2, 0.4) if name == "grass" else (0, 1), (0.1, 0.5), (0.3, 0.8))
            if name == "grass":
                draw.ellipse((x, y, x + w, y + 1.6 * h), fill=fill)
            else:
                draw.rectangle((x, y, x + w, y + h), fill=fill)
    if name == "night":
        for x, y in rng.uniform(0, 1, (int(rng.integers(0, 25)), 2)):
            draw.point((x * width, y * horizon * height), fill=(200, 200, 210))
    return image
