"""Media files for the browser, with the samples and pixels that the models receive, under unguessable names.

    audio           WAV with the stored samples
    silent_video    MP4 with one H.264 stream at one frame per second; the file has no audio stream
    sounded_video   MP4 with the same H.264 packets and the audio, by default as FLAC: every sample as stored

WAV and H.264 in MP4 play in every browser; FLAC in MP4 in Chromium since 57, Firefox since 51, and Safari since 13
(`human_study.audio_codec: aac` supports older ones at the cost of exact samples). H.264 is lossy; its bit rate is high
enough that only 4:2:0 limits color, which browsers need and the stored JPEGs have too. A test bounds the luma error at
40 dB PSNR. A file name is a keyed hash of clip and condition: without the study's secret, it can be neither guessed nor
traced back. Files are created once and written atomically.
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
from av.audio.stream import AudioStream
from av.container import OutputContainer
from tqdm import tqdm

from synesthesia.data.store import Store
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.stimuli import tones
from synesthesia.schemas import CONDITIONS
from synesthesia.utils.io import write_atomic
from synesthesia.utils.wav import encode_wav

FILENAME_PATTERN = re.compile(r"[0-9a-f]{40}\.(?:wav|mp4)")
X264_OPTIONS = {"preset": "medium", "crf": "10", "tune": "stillimage", "bf": "0", "g": "1"}
LIMITED_RANGE, BT709 = 1, 1  # ITU-T H.273 codes of the range, and of primaries, transfer, and matrix
AAC_BIT_RATE = 128_000  # bit/s
CLIP_SAMPLE_RATE = 16000  # Hz


class StimulusError(ValueError):
    """Stimuli cannot be created; the message names the clip and the reason."""


class StimulusNames:
    """File names of stimuli under one secret.

    Args:
        secret: The study's secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"stimuli", "sha256")

    def filename(self, source_id: str, condition: str) -> str:
        """Compute a file name.

        Args:
            source_id: Clip id, or an id of a synthetic sound.
            condition: One of `CONDITIONS`.

        Returns:
            160 bits in hexadecimal with the extension `.wav` or `.mp4`.
        """
        digest = hmac.new(self._key, f"{condition}\0{source_id}".encode(), hashlib.sha256).hexdigest()
        return digest[:40] + (".wav" if condition == "audio" else ".mp4")

    def sound_check(self, n_tones: int) -> str:
        """Compute the file name of a sound check.

        Args:
            n_tones: Number of tones to count.

        Returns:
            The file name.
        """
        return self.filename(f"\0check {n_tones}", "sounded_video")

    def headphone_check(self) -> list[str]:
        """Compute the file names of the headphone check.

        Returns:
            One file name per sound.
        """
        return [self.filename(f"\0headphones {n}", "audio") for n in range(len(tones.TARGET_INTERVALS))]


def make_stimuli(
    folder: Path,
    stimulus_names: StimulusNames,
    store: Store,
    questions: Iterable[StoredQuestion],
    audio_codec: str,
    seed: int,
) -> int:
    """Create missing stimulus files, with a progress bar.

    Args:
        folder: Destination folder; created if missing.
        stimulus_names: File names.
        store: Clip store.
        questions: Questions of the plan (all conditions) and of the practice (their own condition).
        audio_codec: "flac" or "aac", for videos with audio.
        seed: Random seed of the headphone check.

    Returns:
        The number of files created.

    Raises:
        StimulusError: The store holds another clip at a question's location, or the disk is full.
        StoreError: A shard is damaged or missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existing_names = {entry.name for entry in os.scandir(folder)}
    n_created = _make_check_stimuli(folder, stimulus_names, existing_names, audio_codec, seed)
    pending: list[tuple[StoredQuestion, list[str]]] = []
    for question in questions:
        conditions = [c for c in _required_conditions(question)
                      if stimulus_names.filename(question.clip_id, c) not in existing_names]  # fmt: skip
        if conditions:
            pending.append((question, conditions))
    if not pending:
        return n_created
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # libx264 releases the GIL
        jobs = [
            pool.submit(_make_clip_stimuli, folder, stimulus_names, store, question, conditions, audio_codec)
            for question, conditions in pending
        ]
        for job in tqdm(jobs, unit="clip", desc="stimuli"):
            n_created += job.result()
    return n_created


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
    clip_id = question.clip_id
    if store.clip_id(question.shard, question.row) != clip_id:
        raise StimulusError(f"the store holds another clip at the location of {clip_id}: the clips were curated anew "
                            "after the study started; restore the old out/ with `dvc checkout`")  # fmt: skip
    samples = np.round(store.audio(question.shard, question.row) * 32768).astype(np.int16)
    frames = None if conditions == ["audio"] else store.frames(question.shard, question.row)
    for condition in conditions:
        if condition == "audio":
            content = encode_wav(samples, CLIP_SAMPLE_RATE)
        else:
            assert frames is not None
            content = encode_video(frames, samples if condition == "sounded_video" else None, audio_codec)
        _write_stimulus(folder / stimulus_names.filename(clip_id, condition), content)
    return len(conditions)


def _make_check_stimuli(
    folder: Path, stimulus_names: StimulusNames, existing_names: set[str], audio_codec: str, seed: int
) -> int:
    """Create the videos of the sound check and the sounds of the headphone check."""
    n_created = 0
    frames = np.full((6, 96, 128, 3), 70, np.uint8)
    frames[::2, 24:72, 40:88] = (120, 150, 190)
    for n_tones in range(3, 6):
        if (name := stimulus_names.sound_check(n_tones)) not in existing_names:
            _write_stimulus(folder / name, encode_video(frames, tones.make_counting_sound(n_tones), audio_codec))
            n_created += 1
    for number, name in enumerate(stimulus_names.headphone_check()):
        if name not in existing_names:
            sound_seed = seed * len(tones.TARGET_INTERVALS) + number
            sound = tones.make_headphone_sound(tones.TARGET_INTERVALS[number], sound_seed)
            _write_stimulus(folder / name, encode_wav(sound, tones.SAMPLE_RATE))
            n_created += 1
    return n_created


def encode_video(frames: np.ndarray, samples: np.ndarray | None = None, audio_codec: str = "flac") -> bytes:
    """Encode frames and audio as MP4.

    The same frames give the same H.264 packets with and without audio: libx264 on one thread is deterministic.

    Args:
        frames: uint8 RGB, shape (n, height, width, 3), one per second. Odd sides lose their last row or column.
        samples: int16 mono samples at `CLIP_SAMPLE_RATE`; None for a video without audio.
        audio_codec: "flac" or "aac".

    Returns:
        The file's bytes.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options=X264_OPTIONS)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", Fraction(1, 1)
        context = stream.codec_context
        context.color_range, context.colorspace = LIMITED_RANGE, BT709
        context.color_primaries, context.color_trc = BT709, BT709
        context.thread_count = 1
        audio_stream = None if samples is None else _add_audio_stream(container, audio_codec)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base, frame.duration = number, Fraction(1, 1), 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if samples is not None and audio_stream is not None:
            _encode_audio(container, audio_stream, samples, audio_codec)
    return buffer.getvalue()


def _add_audio_stream(container: OutputContainer, audio_codec: str) -> AudioStream:
    stream = container.add_stream(audio_codec, rate=CLIP_SAMPLE_RATE, layout="mono")
    assert isinstance(stream, AudioStream)
    if audio_codec == "aac":
        stream.bit_rate = AAC_BIT_RATE
    else:
        stream.codec_context.format = "s16"  # pyright: ignore[reportAttributeAccessIssue] -- PyAV converts the name
    return stream


def _encode_audio(container: OutputContainer, audio_stream: AudioStream, samples: np.ndarray, audio_codec: str) -> None:
    frame_size = audio_stream.codec_context.frame_size or 1024
    for start in range(0, len(samples), frame_size):
        block = samples[None, start : start + frame_size]
        if audio_codec == "aac":
            frame = av.AudioFrame.from_ndarray(block.astype(np.float32) / 32768, format="fltp", layout="mono")
        else:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = CLIP_SAMPLE_RATE, start, Fraction(1, CLIP_SAMPLE_RATE)
        container.mux(audio_stream.encode(frame))
    container.mux(audio_stream.encode(None))


def _write_stimulus(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StimulusError(f"the disk is full ({path.parent}): free some space and run it again") from None
        raise
