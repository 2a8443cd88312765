"""Clips that cost a decoder what VGGSound's do: 360 to 720 lines, 30 frames a second, B-frames, two to six key frames.

The pictures are textures with the spectrum of photographs (amplitude 1/f), a camera that pans and shakes, things that
cross the view, and sensor noise; x264 gets the bit rate that YouTube gives to such a size, and its own defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SECONDS, FPS = 10, 30
GRAIN = 2.5  # standard deviation of the sensor noise, of 255


@dataclass(frozen=True)
class Kind:
    """A clip to make: pixels, kbit/s, the longest distance of key frames (frames), audio rate (Hz), its seed."""

    width: int
    height: int
    kilobits: int
    distance: int
    rate: int
    seed: int


# Bit rates as YouTube streams H.264 at these sizes; distances that give two to six key frames.
KINDS = (
    Kind(640, 360, 600, 250, 44100, 1),
    Kind(480, 360, 500, 150, 44100, 2),
    Kind(854, 480, 1100, 128, 44100, 3),
    Kind(640, 480, 1000, 250, 48000, 4),
    Kind(1280, 720, 2300, 150, 44100, 5),
    Kind(640, 360, 600, 60, 44100, 6),
    Kind(1280, 720, 2300, 75, 48000, 7),
    Kind(480, 360, 450, 100, 44100, 8),
    Kind(320, 240, 300, 250, 44100, 9),
)


def make(folder: Path, kinds=KINDS) -> list[Path]:
    """Write one clip a kind into the folder; about four seconds each on one core."""
    return [write(folder / f"{kind.seed}-{kind.height}-lines.mp4", kind) for kind in kinds]


def write(path: Path, kind: Kind, codec: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """Write one clip; `options` go to the encoder beside x264's defaults."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=FPS, options={"preset": "medium", "threads": "2", **(options or {})})
        video.width, video.height, video.pix_fmt = kind.width, kind.height, "yuv420p"
        video.bit_rate, video.gop_size = kind.kilobits * 1000, kind.distance
        sound = out.add_stream("aac", rate=kind.rate, layout="stereo")
        sound.bit_rate = 128_000
        for number, planes in enumerate(pictures(kind)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        block = av.AudioFrame.from_ndarray(_sound(kind), format="fltp", layout="stereo")
        block.sample_rate, block.pts = kind.rate, 0
        out.mux(sound.encode(block))
        out.mux(sound.encode())
    return path


def pictures(kind: Kind):
    """The frames as planar 4:2:0, uint8 (height * 3 / 2, width)."""
    rng = np.random.default_rng(kind.seed)
    width, height = kind.width, kind.height
    canvas = _texture(rng, 2 * height, 2 * width, 45.0)
    colours = [_texture(rng, height, width, 18.0) for _ in "uv"]
    things = [
        (_texture(rng, height // 3, width // 4, 60.0), *rng.uniform(0, 1, 2), *rng.normal(0, 0.15, 2)) for _ in "ab"
    ]
    grain = rng.normal(0, GRAIN, (2 * height, 2 * width)).astype(np.int16)
    shake = np.cumsum(rng.normal(0, 0.4, (SECONDS * FPS, 2)), 0)
    for number in range(SECONDS * FPS):
        t = number / FPS
        if number == int(kind.seed * 0.9 % 8 * FPS):  # a cut: another part of the scene
            canvas = np.roll(canvas, (height, width), (0, 1))
        top = int(height / 2 + 0.3 * height * np.sin(0.5 * t + kind.seed) + shake[number, 0]) % height // 2 * 2
        left = int(width / 2 + 0.3 * width * np.sin(0.33 * t) + shake[number, 1]) % width // 2 * 2
        luma = canvas[top : top + height, left : left + width].astype(np.int16)
        for thing, y, x, dy, dx in things:
            high, wide = thing.shape
            y0, x0 = int((y + dy * t) % 1 * (height - high)), int((x + dx * t) % 1 * (width - wide))
            luma[y0 : y0 + high, x0 : x0 + wide] = thing
        y0, x0 = rng.integers(0, (height, width))
        luma += grain[y0 : y0 + height, x0 : x0 + width]
        chroma = [c[top // 2 : top // 2 + height // 2, left // 2 : left // 2 + width // 2] for c in colours]
        planes = [np.clip(luma, 0, 255).astype(np.uint8).ravel(), *(c.ravel() for c in chroma)]
        yield np.concatenate(planes).reshape(height * 3 // 2, width)


def _texture(rng: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """uint8 (height, width) of spectrum 1/f, its standard deviation `contrast`."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(np.hypot(y, x), 1 / max(height, width))
    image = np.fft.irfft2(spectrum, (height, width))
    return np.clip(128 + contrast * image / image.std(), 0, 255).astype(np.uint8)


def _sound(kind: Kind) -> np.ndarray:
    """float32 (2, samples): a chord that swells, and noise."""
    rng = np.random.default_rng(kind.seed)
    t = np.arange(SECONDS * kind.rate) / kind.rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 3000, 5)) * (1 + np.sin(3 * t)) / 20
    return np.stack([chord, 0.8 * chord]).astype(np.float32) + rng.normal(0, 0.03, (2, len(t))).astype(np.float32)
