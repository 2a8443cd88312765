"""Small media files for tests and benchmarks: a moving pattern and a rising tone, in any codec, size, and rate."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

DECODE_PARAMS = {
    "sample_rate": 16000,
    "clip_seconds": 10.0,
    "min_seconds": 8.0,
    "frames_per_second": 1.0,
    "max_pixels": 9408,
    "jpeg_quality": 92,
}

# How a display matrix [[a, b], [c, d]] rotates and mirrors: x' = ax + cy, y' = bx + dy.
DISPLAY_MATRICES = {
    "upright": ((1, 0), (0, 1)),
    "rotated right": ((0, 1), (-1, 0)),
    "rotated 180": ((-1, 0), (0, -1)),
    "rotated left": ((0, -1), (1, 0)),
    "mirrored horizontally": ((-1, 0), (0, 1)),
    "mirrored vertically": ((1, 0), (0, -1)),
    "transposed": ((0, 1), (1, 0)),
    "anti-transposed": ((0, -1), (-1, 0)),
}


@cache
def render_frame(index: int, width: int, height: int) -> np.ndarray:
    """Render RGB uint8 (height, width, 3): drifting bands, a square whose position encodes the index, some texture."""
    y, x = np.mgrid[:height, :width]
    red = (x * 255 // max(1, width) + 5 * index) % 256
    green = (y * 255 // max(1, height) + 3 * index) % 256
    blue = 127 + 100 * np.sin((x + y) / 9 + index / 4)
    image = np.stack([red, green, blue], -1).astype(np.uint8)
    side = max(2, height // 6)
    left = (index * 7) % max(1, width - side)
    image[height // 2 : height // 2 + side, left : left + side] = (255, 255, 0)
    return image


def render_tone(seconds: float, sample_rate: int, channels: int) -> np.ndarray:
    """Render float32 (channels, samples): a tone rising from 200 to 2,000 Hz, slightly different per channel."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = 0.4 * np.sin(2 * np.pi * (200 * t + 90 * t**2)) + 0.05 * np.sin(2 * np.pi * 3000 * t)
    return np.stack([wave * (1 - 0.3 * c / channels) for c in range(channels)]).astype(np.float32)


def write_clip(
    path: str | Path,
    *,
    seconds: float = 10.0,
    size: tuple[int, int] = (96, 64),
    fps: int | Fraction = 6,
    video: str | None = "libx264",
    audio: str | None = "aac",
    sample_rate: int = 16000,
    layout: str = "mono",
    pix_fmt: str = "yuv420p",
    gop: int = 50,
    bframes: int = 2,
    audio_seconds: float | None = None,
    options: dict | None = None,
    container_options: dict | None = None,
    keep_frame: Callable[[int], bool] = lambda index: True,
    first_frame: int = 0,
) -> Path:
    """Write a clip.

    Args:
        path: The file; its extension selects the container.
        seconds: Duration.
        size: Width and height in pixels.
        fps: Frames per second.
        video: Video encoder, or None for no video stream.
        audio: Audio encoder, or None for no audio stream.
        sample_rate: Audio rate in Hz.
        layout: Audio channel layout.
        pix_fmt: Pixel format.
        gop: Maximum distance of key frames, in frames.
        bframes: Maximum number of consecutive B-frames.
        audio_seconds: Duration of the audio, if it differs.
        options: Options of the video encoder.
        container_options: Options of the muxer.
        keep_frame: Drops frames by index, for a variable frame rate.
        first_frame: Index of the first frame.

    Returns:
        The path.
    """
    path = Path(path)
    with av.open(str(path), "w", options=container_options or {}) as container:
        if video:
            video_stream = container.add_stream(video, rate=fps)
            video_stream.width, video_stream.height = size
            video_stream.pix_fmt, video_stream.gop_size = pix_fmt, gop
            video_stream.codec_context.max_b_frames = bframes
            default_options = {"preset": "ultrafast", "crf": "28", "threads": "1"}
            video_stream.options = options if options is not None else default_options
            if options is None and video == "libx264" and bframes:
                b_frame_options = {"preset": "superfast", "bf": str(bframes), "b-adapt": "0"}
                video_stream.options = {**video_stream.options, **b_frame_options}
        if audio:
            audio_stream = container.add_stream(audio, rate=sample_rate, layout=layout)
        container.start_encoding()
        if video:
            for index in filter(keep_frame, range(first_frame, int(seconds * fps))):
                frame = av.VideoFrame.from_ndarray(render_frame(index, *size), format="rgb24")
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
                container.mux(video_stream.encode(frame))
            container.mux(video_stream.encode())
        if audio:
            channels = len(av.AudioLayout(layout).channels)
            wave = render_tone(seconds if audio_seconds is None else audio_seconds, sample_rate, channels)
            block_size = audio_stream.codec_context.frame_size or 1024
            for start in range(0, wave.shape[1], block_size):
                block = np.ascontiguousarray(wave[:, start : start + block_size])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
                container.mux(audio_stream.encode(frame))
            container.mux(audio_stream.encode())
    return path


def set_display_matrix(path: Path, matrix: tuple[tuple[int, int], tuple[int, int]]) -> Path:
    """Write a display matrix into an MP4's first track, as a rotated camera does (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    offset = data.index(b"tkhd") + 44  # after version, times, id, duration, layer, group, and volume
    (a, b), (c, d) = matrix
    fields = [(a, 16), (b, 16), (0, 30), (c, 16), (d, 16), (0, 30), (0, 16), (0, 16), (1, 30)]
    data[offset : offset + 36] = b"".join((value << bits).to_bytes(4, "big", signed=True) for value, bits in fields)
    path.write_bytes(data)
    return path
