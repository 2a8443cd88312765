"""Files for the browser, from the very samples and pixels that the models get, under names that tell nothing.

    audio           WAV, the stored samples themselves
    silent_video    MP4 with one H.264 stream at one frame a second; there is no sound in the file
    sounded_video   MP4 with the same H.264 packets and the sound, by default FLAC: every sample as it is stored

WAV and H.264 in MP4 play in every browser; FLAC in MP4 in Chromium since 57, Firefox since 51 and Safari since 13
(study.sound: aac is for older ones, at the cost of exact samples). H.264 is lossy, so it is given bits until colour is
bounded by 4:2:0 alone, which a browser needs and which the stored JPEGs have as well; a test holds brightness to 40 dB
of what is stored. A name is a keyed hash of clip and condition: it can neither be
guessed nor traced back without the study's secret. Files are made once, each whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import io
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from synesthesia.data.store import Store
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.stimuli import tones
from synesthesia.schemas import CONDITIONS

FILENAME_PATTERN = re.compile(r"[0-9a-f]{40}\.(?:wav|mp4)")
X264_OPTIONS = {"preset": "medium", "crf": "10", "tune": "stillimage", "bf": "0", "g": "1"}
LIMITED_RANGE, BT709 = 1, 1  # H.273's codes for the range and for primaries, transfer and matrix
AAC_BIT_RATE = 128_000  # a second
CLIP_SAMPLE_RATE = 16000  # Hz


class StimulusError(ValueError):
    """Stimuli cannot be made; the message says of which clip and why."""


class StimulusNames:
    """Names of stimuli under one secret."""

    def __init__(self, secret: bytes):
        self._key = hmac.digest(secret, b"stimuli", "sha256")

    def filename(self, source_id: str, condition: str) -> str:
        """The file's name for a clip's id (or a sound of the study's own) in a condition."""
        digest = hmac.new(self._key, f"{condition}\0{source_id}".encode(), hashlib.sha256).hexdigest()
        return digest[:40] + (".wav" if condition == "audio" else ".mp4")

    def sound_check(self, n_tones: int) -> str:
        """The sound check's file, in which tones are to be counted."""
        return self.filename(f"\0check {n_tones}", "sounded_video")

    def headphone_check(self) -> list[str]:
        """The headphone test's six sounds."""
        return [self.filename(f"\0headphones {n}", "audio") for n in range(len(tones.TARGET_INTERVALS))]


def make_stimuli(
    folder: Path,
    stimulus_names: StimulusNames,
    store: Store,
    questions: Iterable[StoredQuestion],
    audio_codec: str,
    seed: int,
) -> int:
    """Make what is missing under `folder`; return how many files were made. Raises StimulusError, StoreError.

    Needs each question's clip at its place in the store; shows progress with the time left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {entry.name for entry in os.scandir(folder)}
    made = _make_check_stimuli(folder, stimulus_names, there, audio_codec, seed)
    todo = [
        (q, missing)
        for q in questions
        if (missing := [c for c in _required_conditions(q) if stimulus_names.filename(q.clip_id, c) not in there])
    ]
    if not todo:
        return made
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # libx264 works outside the interpreter's lock
        jobs = (
            pool.submit(_make_clip_stimuli, folder, stimulus_names, store, q, conditions, audio_codec)
            for q, conditions in todo
        )
        for job in tqdm(list(jobs), unit="clip", desc="stimuli"):
            made += job.result()
    return made


def _required_conditions(question: StoredQuestion) -> tuple[str, ...]:
    return CONDITIONS if question.practice_condition is None else (question.practice_condition,)


def _make_clip_stimuli(
    folder: Path,
    stimulus_names: StimulusNames,
    store: Store,
    question: StoredQuestion,
    conditions: list[str],
    audio_codec: str,
) -> int:
    clip = question.clip_id
    if store.clip_id(question.shard, question.row) != clip:
        raise StimulusError(f"the store holds another clip in the place of {clip}: it was curated anew after the study "
                            "was begun; bring the old out/ back with `dvc checkout`")  # fmt: skip
    samples = np.round(store.audio(question.shard, question.row) * 32768).astype(np.int16)
    frames = None if conditions == ["audio"] else store.frames(question.shard, question.row)
    for condition in conditions:
        if condition == "audio":
            data = tones.encode_wav(samples, CLIP_SAMPLE_RATE)
        else:
            data = encode_video(frames, samples if condition == "sounded_video" else None, audio_codec)
        _write_atomic(folder / stimulus_names.filename(clip, condition), data)
    return len(conditions)


def _make_check_stimuli(
    folder: Path, stimulus_names: StimulusNames, existing_names: set[str], audio_codec: str, seed: int
) -> int:
    """The sound check's videos, and the headphone test's sounds."""
    made = 0
    grey = np.full((6, 96, 128, 3), 70, np.uint8)
    grey[::2, 24:72, 40:88] = (120, 150, 190)
    for count in range(3, 6):
        if (name := stimulus_names.sound_check(count)) not in existing_names:
            _write_atomic(folder / name, encode_video(grey, tones.make_counting_sound(count), audio_codec))
            made += 1
    for number, name in enumerate(stimulus_names.headphone_check()):
        if name not in existing_names:
            noise = tones.make_headphone_sound(
                tones.TARGET_INTERVALS[number], seed * len(tones.TARGET_INTERVALS) + number
            )
            _write_atomic(folder / name, tones.encode_wav(noise, tones.SAMPLE_RATE))
            made += 1
    return made


def encode_video(frames: np.ndarray, samples: np.ndarray | None = None, audio_codec: str = "flac") -> bytes:
    """An MP4 of frames uint8 (n, height, width, 3), a second each, and of int16 samples at 16 kHz where there are any.

    Same frames, same H.264 packets, with sound or without: libx264 on one thread is deterministic.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=1, options=X264_OPTIONS)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, 1)
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = (
            LIMITED_RANGE,
            BT709,
            BT709,
            BT709,
        )
        context.thread_count = 1
        track = None
        if samples is not None:
            track = out.add_stream(audio_codec, rate=CLIP_SAMPLE_RATE, layout="mono")
            if audio_codec == "aac":
                track.bit_rate = AAC_BIT_RATE
            else:
                track.codec_context.format = "s16"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base, frame.duration = number, Fraction(1, 1), 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None:
            _encode_audio(out, track, samples, audio_codec)
    return buffer.getvalue()


def _encode_audio(container, audio_stream, samples: np.ndarray, audio_codec: str) -> None:
    block = audio_stream.codec_context.frame_size or 1024
    for start in range(0, len(samples), block):
        piece = samples[None, start : start + block]
        if audio_codec == "aac":
            frame = av.AudioFrame.from_ndarray(piece.astype(np.float32) / 32768, format="fltp", layout="mono")
        else:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CLIP_SAMPLE_RATE, start, Fraction(1, CLIP_SAMPLE_RATE)
        container.mux(audio_stream.encode(frame))
    container.mux(audio_stream.encode(None))


def _write_atomic(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StimulusError(f"the disk is full ({path.parent}): free some space and run it again") from None
        raise
    finally:
        beside.unlink(missing_ok=True)
