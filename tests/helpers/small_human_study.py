"""A human study small enough for tests: a real clip store and its tables, created within a second."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from synesthesia import config, schemas
from synesthesia.config import HumanStudyConfig
from synesthesia.data import store
from tests.helpers.preset_files import embedded

ROOT = Path(__file__).parents[2]
SAMPLE_RATE = 16000


def make_config(**changes) -> config.Config:
    """Return the embedded preset with a shorter study; `changes` are keys of `human_study`."""
    preset = embedded()
    short = {"trials_per_participant": 6, "practice_trials": 3, "attention_checks": 1,
             "consent": str(ROOT / "humans/consent.md")}  # fmt: skip
    human_study = HumanStudyConfig.model_validate(preset.human_study.model_dump() | short | changes)
    return preset.model_copy(update={"human_study": human_study})


def label_name(number: int) -> str:
    """Return a label with HTML markup, to test escaping."""
    return f"<i>label</i> {number:02d} & co"


def make_outputs(out_dir: Path, n_labels: int = 12, n_clips: int = 4, seconds: float = 3.0) -> Path:
    """Write store, clips, questions, and gap: per label, `n_clips` analysis clips and two finetune clips."""
    rng = np.random.default_rng(7)
    clips, questions = [], []
    with store.StoreWriter(out_dir / "curate/store", clips_per_shard=16) as writer:
        for number in range(n_labels):
            for index in range(n_clips + 2):
                split = "analysis" if index < n_clips else "finetune"
                clip_id = f"{split}{number:02d}{index:02d}_000010"
                shard, row = writer.add(
                    clip_id, make_audio(number, seconds, rng), make_jpegs(number, index, round(seconds))
                )
                clips.append({"clip_id": clip_id, "video_id": clip_id[:-7], "dataset": "vggsound", "split": split,
                              "labels": [label_name(number)], "shard": shard, "row": row})  # fmt: skip
                distractors = [label_name(n) for n in rng.permutation(n_labels) if n != number][:9]
                target = int(rng.integers(10))
                options = [*distractors[:target], label_name(number), *distractors[target:]]
                questions.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": split, "target": target,
                                  "options": options})  # fmt: skip
    third = n_labels // 3
    gap = [{"label": label_name(n), "n_clips": n_clips, "audio_accuracy": (0.9, 0.9, 0.4)[min(n // third, 2)],
            "visual_accuracy": (0.9, 0.4, 0.9)[min(n // third, 2)], "visual_better": n // third >= 2}
           for n in range(n_labels)]  # fmt: skip
    for name, schema, rows in (
        ("curate/clips", schemas.CLIP, clips),
        ("make_questions/questions", schemas.QUESTION, questions),
        ("measure_gap/gap", schemas.GAP, gap),
    ):
        schemas.write(schemas.from_rows(rows, schema, name), out_dir / f"{name}.parquet", schema)
    return out_dir


def make_audio(number: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Synthesize a tone with one frequency per label and some noise, int16."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time) + 0.02 * rng.standard_normal(len(time))
    return np.round(wave * 32767).astype(np.int16)


def make_jpegs(number: int, index: int, count: int) -> list[bytes]:
    """Render JPEGs of 96 x 64 pixels: a moving square on a background color per label."""
    jpegs = []
    for second in range(count):
        image = np.full((64, 96, 3), (40 + 12 * number, 120, 200 - 10 * number), np.uint8)
        image[20:44, 8 + 16 * second : 32 + 16 * second] = (230, 220, 40 * (index % 6))
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=92)
        jpegs.append(buffer.getvalue())
    return jpegs
