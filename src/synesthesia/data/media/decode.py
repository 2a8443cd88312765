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
from synesthesia.data.media.audio import sound
from synesthesia.data.media.errors import LIBAV_ERRORS, MediaError, refusal, refuse_empty
from synesthesia.data.media.frames import chosen_frames


@dataclass(frozen=True)
class Clip:
    """What the study keeps of a file: int16 (samples,), JPEGs in order of time, and the pictures' (width, height)."""

    audio: np.ndarray
    jpegs: list[bytes]
    size: tuple[int, int]


def decode(
    path: str | os.PathLike,
    *,
    rate: int,
    seconds: float,
    shortest_seconds: float,
    frames_per_second: float,
    largest_pixels: int,
    jpeg_quality: int,
) -> Clip:
    """Decode a file of any container; raise MediaError for any file that does not hold a whole clip.

    Reasons: "absent", "unreadable", "empty file", "not a media file", "no audio stream", "no video stream", "too
    short" (the file is as short as it says), "truncated" (it announces more than it holds), "too large" (pictures,
    channels or packets beyond what reading.py allows, or more memory than there is), "undecodable".
    """
    path = Path(path)
    refuse_empty(path)
    try:
        with reading.opened(path) as container:
            video, audio = reading.read(container, seconds)
            samples = sound(audio, rate, seconds)
            reading.refuse_short(video, video.end, shortest_seconds)
            reading.refuse_short(audio, len(samples) / rate, shortest_seconds)
            targets = [k / frames_per_second for k in range(round(seconds * frames_per_second))]
            frames = chosen_frames(video, targets, seconds)
            size = images.fit(*images.shown_size(video.stream, frames[0]), largest_pixels)
            jpegs = images.jpegs(frames, size, jpeg_quality)
    except MemoryError:
        raise MediaError("too large", "needs more memory than a file may have") from None
    except LIBAV_ERRORS as error:
        raise refusal(path, error) from None
    length = round(rate * seconds)
    return Clip(np.pad(samples[:length], (0, max(0, length - len(samples)))), jpegs, size)
