"""Clips that cost as much to decode as VGGSound's: 240 to 720 lines, 30 fps, B-frames, two to six key frames.

The frames are textures with the spectrum of photographs (amplitude 1/f), viewed by a panning and shaking camera, with
moving objects and sensor noise. x264 runs at YouTube's bit rate for the size, with default options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SECONDS, FPS = 10, 30
NOISE_STD = 2.5  # standard deviation of the sensor noise, of 255


@dataclass(frozen=True)
class ClipSpec:
    """A clip to generate: size in pixels, kbit/s, maximum key frame distance in frames, audio rate in Hz, and seed."""

    width: int
    height: int
    kbit_rate: int
    max_keyframe_distance: int
    sample_rate: int
    seed: int


# Bit rates as YouTube streams H.264 at these sizes; distances for two to six key frames.
CLIP_SPECS = (
    ClipSpec(640, 360, 600, 250, 44100, 1),
    ClipSpec(480, 360, 500, 150, 44100, 2),
    ClipSpec(854, 480, 1100, 128, 44100, 3),
    ClipSpec(640, 480, 1000, 250, 48000, 4),
    ClipSpec(1280, 720, 2300, 150, 44100, 5),
    ClipSpec(640, 360, 600, 60, 44100, 6),
    ClipSpec(1280, 720, 2300, 75, 48000, 7),
    ClipSpec(480, 360, 450, 100, 44100, 8),
    ClipSpec(320, 240, 300, 250, 44100, 9),
)


def write_all(folder: Path, specs: Sequence[ClipSpec] = CLIP_SPECS) -> list[Path]:
    """Write one clip per spec into the folder; about four seconds each on one core."""
    return [write_clip(folder / f"{spec.seed}-{spec.height}-lines.mp4", spec) for spec in specs]


def write_clip(path: Path, spec: ClipSpec, codec: str = "libx264", options: dict[str, str] | None = None) -> Path:
    """Write one clip; `options` are additional encoder options."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=FPS, options={"preset": "medium", "threads": "2", **(options or {})})
        video.width, video.height, video.pix_fmt = spec.width, spec.height, "yuv420p"
        video.bit_rate, video.gop_size = spec.kbit_rate * 1000, spec.max_keyframe_distance
        audio = container.add_stream("aac", rate=spec.sample_rate, layout="stereo")
        audio.bit_rate = 128_000
        for number, planes in enumerate(render_frames(spec)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        block = av.AudioFrame.from_ndarray(_render_audio(spec), format="fltp", layout="stereo")
        block.sample_rate, block.pts = spec.sample_rate, 0
        container.mux(audio.encode(block))
        container.mux(audio.encode())
    return path


def render_frames(spec: ClipSpec) -> Iterator[np.ndarray]:
    """Yield the frames as planar 4:2:0, uint8 (height * 3 / 2, width)."""
    rng = np.random.default_rng(spec.seed)
    width, height = spec.width, spec.height
    canvas = _texture(rng, 2 * height, 2 * width, 45.0)
    chroma_planes = [_texture(rng, height, width, 18.0) for _ in "uv"]
    objects = [
        (_texture(rng, height // 3, width // 4, 60.0), *rng.uniform(0, 1, 2), *rng.normal(0, 0.15, 2)) for _ in "ab"
    ]
    noise = rng.normal(0, NOISE_STD, (2 * height, 2 * width)).astype(np.int16)
    shake = np.cumsum(rng.normal(0, 0.4, (SECONDS * FPS, 2)), 0)
    for number in range(SECONDS * FPS):
        t = number / FPS
        if number == int(spec.seed * 0.9 % 8 * FPS):  # a cut: another part of the scene
            canvas = np.roll(canvas, (height, width), (0, 1))
        top = int(height / 2 + 0.3 * height * np.sin(0.5 * t + spec.seed) + shake[number, 0]) % height // 2 * 2
        left = int(width / 2 + 0.3 * width * np.sin(0.33 * t) + shake[number, 1]) % width // 2 * 2
        luma = canvas[top : top + height, left : left + width].astype(np.int16)
        for texture, y, x, dy, dx in objects:
            object_height, object_width = texture.shape
            y0, x0 = int((y + dy * t) % 1 * (height - object_height)), int((x + dx * t) % 1 * (width - object_width))
            luma[y0 : y0 + object_height, x0 : x0 + object_width] = texture
        y0, x0 = rng.integers(0, (height, width))
        luma += noise[y0 : y0 + height, x0 : x0 + width]
        chroma = [c[top // 2 : top // 2 + height // 2, left // 2 : left // 2 + width // 2] for c in chroma_planes]
        planes = [np.clip(luma, 0, 255).astype(np.uint8).ravel(), *(c.ravel() for c in chroma)]
        yield np.concatenate(planes).reshape(height * 3 // 2, width)


def _texture(rng: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Return uint8 (height, width) with spectrum 1/f and standard deviation `contrast`."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / np.maximum(np.hypot(y, x), 1 / max(height, width))
    image = np.fft.irfft2(spectrum, (height, width))
    return np.clip(128 + contrast * image / image.std(), 0, 255).astype(np.uint8)


def _render_audio(spec: ClipSpec) -> np.ndarray:
    """Return float32 (2, samples): an amplitude-modulated chord with noise."""
    rng = np.random.default_rng(spec.seed)
    t = np.arange(SECONDS * spec.sample_rate) / spec.sample_rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 3000, 5)) * (1 + np.sin(3 * t)) / 20
    return np.stack([chord, 0.8 * chord]).astype(np.float32) + rng.normal(0, 0.03, (2, len(t))).astype(np.float32)
