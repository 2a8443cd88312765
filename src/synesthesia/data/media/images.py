"""Chosen frames as a viewer sees them: upright, of square pixels, small enough, as JPEG."""

from __future__ import annotations

import io

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image


def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Even width and height, at least 2, of at most `largest_pixels` (at least 4) and the same aspect ratio, or as near
    as that allows; never larger than it is.
    """
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    width, height = (max(2, int(side * scale) // 2 * 2) for side in (width, height))
    if width * height > max_pixels:  # a line, one pixel high
        longest = max_pixels // 2 // 2 * 2
        width, height = min(width, longest), min(height, longest)
    return width, height


def display_size(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height as a player shows them: square pixels, turned upright."""
    ratio = float(stream.sample_aspect_ratio or 1)
    width = max(1, round(frame.width * (ratio if 0.1 < ratio < 10 else 1)))
    return (frame.height, width) if _is_rotated(_display_matrix(frame)) else (width, frame.height)


def apply_display_matrix(frame: av.VideoFrame, size: tuple[int, int], scaler: VideoReformatter) -> np.ndarray:
    """RGB uint8 (height, width, 3) of `size` (width, height), bicubic; turned and mirrored as its display matrix says.

    Chroma is taken to lie where the stream says, else on the left (H.264, annex E), when pictures are made smaller;
    ffmpeg's scale filter needs to be told (`in_h_chr_pos=0:in_v_chr_pos=128`) and then gives the same pixels.
    """
    matrix = _display_matrix(frame)
    width, height = size[::-1] if _is_rotated(matrix) else size
    rgb = scaler.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
    picture = rgb.to_ndarray()
    if matrix is None:
        return picture
    (a, b), (c, d) = matrix
    if _is_rotated(matrix):
        picture, across, down = picture.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def encode_jpegs(frames: list[av.VideoFrame], size: tuple[int, int], quality: int) -> list[bytes]:
    """JPEGs of `size`, one a frame; a frame that stands for several seconds is encoded once."""
    made: dict[int, bytes] = {}
    scaler = VideoReformatter()
    for frame in frames:
        if id(frame) not in made:
            buffer = io.BytesIO()
            Image.fromarray(apply_display_matrix(frame, size, scaler)).save(buffer, "JPEG", quality=quality)
            made[id(frame)] = buffer.getvalue()
    return [made[id(frame)] for frame in frames]


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The part of the display matrix that turns and mirrors, [[a, b], [c, d]] with x' = ax + cy, y' = bx + dy."""
    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None or len(bytes(side)) != 36:
        return None
    matrix = np.frombuffer(bytes(side), np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    return matrix if matrix.any() else None


def _is_rotated(matrix: np.ndarray | None) -> bool:
    """Whether width and height change places; other angles than right ones go to the nearest of these."""
    return matrix is not None and int(np.abs(matrix[[0, 1], [1, 0]]).sum()) > int(np.abs(matrix[[0, 1], [0, 1]]).sum())
