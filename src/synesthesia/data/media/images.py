"""Selected frames as a viewer sees them: upright, with square pixels, scaled down, as JPEG."""

from __future__ import annotations

import io
from typing import cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

MAX_ASPECT_RATIO = 200  # Qwen's processors raise an error beyond it


def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Compute the largest even size within a number of pixels; never larger than the input.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        max_pixels: Maximum of width times height, at least 4.

    Returns:
        Width and height, even and at least 2, of the same aspect ratio as far as that allows.
    """
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    width, height = (max(2, int(side * scale) // 2 * 2) for side in (width, height))
    if width * height > max_pixels:  # an extreme aspect ratio, such as one pixel high
        longest = max_pixels // 2 // 2 * 2
        width, height = min(width, longest), min(height, longest)
    return width, height


def display_size(stream: VideoStream, frame: VideoFrame) -> tuple[int, int]:
    """Compute the size in which a player displays a frame: square pixels, rotated upright.

    Args:
        stream: Stream with the pixel aspect ratio.
        frame: Frame with the display matrix.

    Returns:
        Width and height in pixels.
    """
    aspect_ratio = float(stream.sample_aspect_ratio or 1)
    width = max(1, round(frame.width * (aspect_ratio if 0.1 < aspect_ratio < 10 else 1)))
    return (frame.height, width) if _is_rotated(_display_matrix(frame)) else (width, frame.height)


def apply_display_matrix(frame: VideoFrame, size: tuple[int, int], scaler: VideoReformatter) -> np.ndarray:
    """Scale a frame (bicubic), then rotate and mirror it by its display matrix.

    Chroma is located as the stream declares, else left (H.264, annex E), when a frame is scaled down. ffmpeg's scale
    filter needs this as an option (`in_h_chr_pos=0:in_v_chr_pos=128`) and then gives the same pixels.

    Args:
        frame: The frame.
        size: Width and height of the output.
        scaler: A reformatter, reused across frames.

    Returns:
        RGB uint8 (height, width, 3).
    """
    matrix = _display_matrix(frame)
    width, height = size[::-1] if _is_rotated(matrix) else size
    rgb = scaler.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
    image = rgb.to_ndarray()
    if matrix is None:
        return image
    (a, b), (c, d) = matrix
    if _is_rotated(matrix):
        image, x_sign, y_sign = image.swapaxes(0, 1), c, b
    else:
        x_sign, y_sign = a, d
    return np.ascontiguousarray(image[:: -1 if y_sign < 0 else 1, :: -1 if x_sign < 0 else 1])


def encode_jpegs(frames: list[VideoFrame], size: tuple[int, int], quality: int) -> list[bytes]:
    """Encode frames as JPEG; a frame that occurs several times is encoded once.

    Args:
        frames: The frames.
        size: Width and height of the JPEGs.
        quality: JPEG quality in [1, 100].

    Returns:
        One JPEG per frame.
    """
    jpegs: dict[int, bytes] = {}
    scaler = VideoReformatter()
    for frame in frames:
        if id(frame) not in jpegs:
            buffer = io.BytesIO()
            Image.fromarray(apply_display_matrix(frame, size, scaler)).save(buffer, "JPEG", quality=quality)
            jpegs[id(frame)] = buffer.getvalue()
    return [jpegs[id(frame)] for frame in frames]


def _display_matrix(frame: VideoFrame) -> np.ndarray | None:
    """Return rotation and mirroring of the display matrix, [[a, b], [c, d]] with x' = ax + cy, y' = bx + dy."""
    side_data = frame.side_data.get(cast(str, Type.DISPLAYMATRIX))  # av's stub misses the enum key
    if side_data is None or len(bytes(side_data)) != 36:
        return None
    matrix = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    return matrix if matrix.any() else None


def _is_rotated(matrix: np.ndarray | None) -> bool:
    """Return whether width and height are swapped; angles are rounded to the nearest right angle."""
    return matrix is not None and int(np.abs(matrix[[0, 1], [1, 0]]).sum()) > int(np.abs(matrix[[0, 1], [0, 1]]).sum())
