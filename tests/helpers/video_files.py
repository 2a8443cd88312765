"""Media files for tests: a moving pattern and a rising tone, written by PyAV with any codec, size and rate."""

from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

PARAMS = {
    "rate": 16000,
    "seconds": 10.0,
    "shortest_seconds": 8.0,
    "frames_per_second": 1.0,
    "largest_pixels": 9408,
    "jpeg_quality": 92,
}


# How a display matrix [[a, b], [c, d]] turns and mirrors: x' = ax + cy, y' = bx + dy.
TURNS = {
    "upright": ((1, 0), (0, 1)),
    "quarter right": ((0, 1), (-1, 0)),
    "half": ((-1, 0), (0, -1)),
    "quarter left": ((0, -1), (1, 0)),
    "mirrored": ((-1, 0), (0, 1)),
    "upside down": ((1, 0), (0, -1)),
    "over the diagonal": ((0, 1), (1, 0)),
    "over the other diagonal": ((0, -1), (-1, 0)),
}


@cache
def picture(index: int, width: int, height: int) -> np.ndarray:
    """RGB (height, width, 3): bands that drift, a square whose place tells the frame's number, some texture."""
    y, x = np.mgrid[:height, :width]
    red = (x * 255 // max(1, width) + 5 * index) % 256
    green = (y * 255 // max(1, height) + 3 * index) % 256
    blue = 127 + 100 * np.sin((x + y) / 9 + index / 4)
    image = np.stack([red, green, blue], -1).astype(np.uint8)
    side = max(2, height // 6)
    left = (index * 7) % max(1, width - side)
    image[height // 2 : height // 2 + side, left : left + side] = (255, 255, 0)
    return image


def tone(seconds: float, rate: int, channels: int) -> np.ndarray:
    """float32 (channels, samples): a tone that rises from 200 to 2,000 Hz, each channel a little different."""
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * (200 * t + 90 * t**2)) + 0.05 * np.sin(2 * np.pi * 3000 * t)
    return np.stack([wave * (1 - 0.3 * c / channels) for c in range(channels)]).astype(np.float32)


def make(
    path: str | Path,
    *,
    seconds: float = 10.0,
    size: tuple[int, int] = (96, 64),
    fps: int | Fraction = 6,
    video: str | None = "libx264",
    audio: str | None = "aac",
    rate: int = 16000,
    layout: str = "mono",
    pix_fmt: str = "yuv420p",
    gop: int = 50,
    bframes: int = 2,
    audio_seconds: float | None = None,
    options: dict | None = None,
    container: dict | None = None,
    keep=lambda index: True,
    first: int = 0,
) -> Path:
    """Write a clip and return its path; `keep` leaves frames out (a variable frame rate), `first` is the first one."""
    path = Path(path)
    with av.open(str(path), "w", options=container or {}) as out:
        if video:
            stream = out.add_stream(video, rate=fps)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, pix_fmt, gop
            stream.codec_context.max_b_frames = bframes
            stream.options = options if options is not None else {"preset": "ultrafast", "crf": "28", "threads": "1"}
            if options is None and video == "libx264" and bframes:
                stream.options = {**stream.options, "preset": "superfast", "bf": str(bframes), "b-adapt": "0"}
        if audio:
            sound = out.add_stream(audio, rate=rate, layout=layout)
        out.start_encoding()
        if video:
            for index in filter(keep, range(first, int(seconds * fps))):
                frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        if audio:
            wave = tone(seconds if audio_seconds is None else audio_seconds, rate, len(av.AudioLayout(layout).channels))
            block = sound.codec_context.frame_size or 1024
            for start in range(0, wave.shape[1], block):
                piece = np.ascontiguousarray(wave[:, start : start + block])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                out.mux(sound.encode(frame))
            out.mux(sound.encode())
    return path


def turn(path: Path, matrix: tuple[tuple[int, int], tuple[int, int]]) -> Path:
    """Write a display matrix into an MP4's first track, as a camera held otherwise does (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # behind version, times, id, duration, layer, group and volume
    (a, b), (c, d) = matrix
    rows = [(a, 16), (b, 16), (0, 30), (c, 16), (d, 16), (0, 30), (0, 16), (0, 16), (1, 30)]
    data[place : place + 36] = b"".join((value << bits).to_bytes(4, "big", signed=True) for value, bits in rows)
    path.write_bytes(data)
    return path
