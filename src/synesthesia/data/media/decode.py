"""A file, decoded once: sound and pictures of [0, seconds) from the file's own start time.

Sound: the file's best audio stream through libswresample to mono, exactly `rate * seconds` samples, cut or padded with
silence at the end. Pictures: for k = 0, 1, ... the first frame that is shown at or after k / frames_per_second (less a
millisecond); where the pictures end earlier than the clip, the last one stands in. On the command line this is

    ffmpeg -i FILE -t 10 -ac 1 -ar 16000 a.wav
           -t 10 -vf "select='gte(t+1e-3, selected_n)',scale=W:H:flags=bicubic" -fps_mode passthrough %02d.jpg

where the pictures begin within the first second (`select` takes the next frames in place of one that stands long).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synesthesia.data.media import container as reading
from synesthesia.data.media import images
from synesthesia.data.media.audio import decode_audio
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, check_file, to_media_error
from synesthesia.data.media.frames import select_frames


@dataclass(frozen=True)
class DecodedClip:
    """What the study keeps of a file: int16 (samples,), JPEGs in order of time, and the pictures' (width, height)."""

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
    """Decode a file of any container; raise MediaError for any file that does not hold a whole clip.

    Reasons: "absent", "unreadable", "empty file", "not a media file", "no audio stream", "no video stream", "too
    short" (the file is as short as it says), "truncated" (it announces more than it holds), "too large" (pictures,
    channels or packets beyond what reading.py allows, or more memory than there is), "undecodable".
    """
    path = Path(path)
    check_file(path)
    try:
        with reading.open_container(path) as container:
            video, audio = reading.read_packets(container, clip_seconds)
            samples = decode_audio(audio, sample_rate, clip_seconds)
            reading.check_duration(video, video.end, min_seconds)
            reading.check_duration(audio, len(samples) / sample_rate, min_seconds)
            targets = [k / frames_per_second for k in range(round(clip_seconds * frames_per_second))]
            frames = select_frames(video, targets, clip_seconds)
            size = images.fit_size(*images.display_size(video.stream, frames[0]), max_pixels)
            jpegs = images.encode_jpegs(frames, size, jpeg_quality)
    except MemoryError:
        raise MediaError("too large", "needs more memory than a file may have") from None
    except LIBAV_ERRORS as error:
        raise to_media_error(path, error) from None
    length = round(sample_rate * clip_seconds)
    return DecodedClip(np.pad(samples[:length], (0, max(0, length - len(samples)))), jpegs, size)
