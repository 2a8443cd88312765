"""Decode a file in one pass: audio and frames in [0, seconds) from the file's start time.

Audio: the best audio stream through libswresample to mono, exactly `sample_rate * clip_seconds` samples, cut or padded
with silence at the end; what the timestamps leave out is silent too. Frames: for k = 0, 1, ... the first frame
displayed at or after k / frames_per_second (minus a millisecond); if the video ends before the clip, the last frame
repeats. On the command line this is

    ffmpeg -i FILE -t 10 -ac 1 -ar 16000 a.wav
           -t 10 -vf "select='gte(t+1e-3, selected_n)',scale=W:H:flags=bicubic" -fps_mode passthrough %02d.jpg

if the sound has no gap, else with `-af aresample=async=1:min_hard_comp=0.1:first_pts=0`, and if the video starts within
the first second (`select` takes the next frames where one frame spans several targets).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from av.video.stream import VideoStream

from synesthesia.data.media import container, images
from synesthesia.data.media.audio import decode_audio
from synesthesia.data.media.encryption import is_encrypted
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, check_file, to_media_error
from synesthesia.data.media.frames import select_frames

_REASONS_OF_ENCRYPTED_FILES = ("encrypted", "not a media file", "too short", "truncated", "undecodable")


@dataclass(frozen=True)
class DecodedClip:
    """Decoded content of one file.

    Attributes:
        audio: int16 (samples,), mono.
        jpegs: One JPEG per target time, in order.
        size: Width and height of the frames in pixels.
    """

    audio: np.ndarray
    jpegs: list[bytes]
    size: tuple[int, int]


def decode(
    path: str | os.PathLike,
    *,
    sample_rate: int,
    clip_seconds: float,
    min_seconds: float,
    frames_per_second: float,
    max_pixels: int,
    jpeg_quality: int,
) -> DecodedClip:
    """Decode a file of any supported container.

    Args:
        path: The file.
        sample_rate: Audio rate in Hz.
        clip_seconds: Length of the clip.
        min_seconds: Minimum length of both streams.
        frames_per_second: Target frame rate.
        max_pixels: Maximum pixels of a frame; larger ones are scaled down.
        jpeg_quality: Quality in [1, 100].

    Returns:
        The clip.

    Raises:
        MediaError: The file does not hold a complete clip. Reasons: "absent", "unreadable", "empty file", "not a media
            file", "no audio stream", "no video stream", "too short" (as short as it declares), "truncated" (it declares
            more than it holds), "too large" (beyond the limits of container.py, or of memory), "extreme aspect ratio",
            "encrypted", "undecodable".
    """
    path = Path(path)
    check_file(path)
    try:
        with (
            _convert_errors(path, is_open=False),
            container.open_container(path) as input_container,
            _convert_errors(path, is_open=True),
        ):
            video, audio = container.read_packets(input_container, clip_seconds)
            sound = decode_audio(audio, sample_rate, clip_seconds)
            container.check_durations(video, audio, sound.seconds, sound.frame_seconds, min_seconds)
            target_times = [k / frames_per_second for k in range(round(clip_seconds * frames_per_second))]
            frames = select_frames(video, target_times, clip_seconds)
            size = _fit_size(images.display_size(cast(VideoStream, video.stream), frames[0]), max_pixels)
            jpegs = images.encode_jpegs(frames, size, jpeg_quality)
    except MediaError as error:
        if error.reason in _REASONS_OF_ENCRYPTED_FILES and is_encrypted(path):
            raise MediaError("encrypted", "the file declares an encryption of its streams") from None
        raise
    num_samples = round(sample_rate * clip_seconds)
    samples = sound.samples[:num_samples]
    return DecodedClip(np.pad(samples, (0, num_samples - len(samples))), jpegs, size)


@contextmanager
def _convert_errors(path: Path, is_open: bool) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise MediaError("too large", "needs more memory than the limit per file") from None
    except LIBAV_ERRORS as error:
        raise to_media_error(path, error, is_open) from None


def _fit_size(display_size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    size = images.fit_size(*display_size, max_pixels)
    if max(size) > images.MAX_ASPECT_RATIO * min(size):
        before, after = (f"{width} x {height}" for width, height in (display_size, size))
        raise MediaError(
            "extreme aspect ratio",
            f"frames of {before} pixels become {after}; vision models accept {images.MAX_ASPECT_RATIO} to 1",
        )
    return size
