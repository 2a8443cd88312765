"""A human study small enough for tests: a real clip store with its tables, in a folder, within a second."""

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
RATE = 16000


def parameters(**changes) -> config.Config:
    """The embedded parameters with a shorter study."""
    given = embedded()
    short = {"trials": 6, "practice": 3, "attention_checks": 1, "consent": str(ROOT / "humans/consent.md")}
    checked = HumanStudyConfig.model_validate(given.human_study.model_dump() | short | changes)
    return given.model_copy(update={"study": checked})


def label(number: int) -> str:
    return f"<i>label</i> {number:02d} & co"


def make(out: Path, labels: int = 12, clips: int = 4, seconds: float = 3.0) -> Path:
    """Store, clips, questions and gap below `out`: `clips` analysis clips a label and two for finetuning."""
    random = np.random.default_rng(7)
    rows, questions = [], []
    with store.StoreWriter(out / "curate/store", clips_per_shard=16) as writer:
        for number in range(labels):
            for index in range(clips + 2):
                split = "analysis" if index < clips else "finetune"
                clip_id = f"{split}{number:02d}{index:02d}_000010"
                shard, row = writer.add(
                    clip_id, sound(number, seconds, random), pictures(number, index, round(seconds))
                )
                rows.append({"clip_id": clip_id, "video_id": clip_id[:-7], "dataset": "vggsound", "split": split,
                             "labels": [label(number)], "shard": shard, "row": row})  # fmt: skip
                others = [label(n) for n in random.permutation(labels) if n != number][:9]
                answer = int(random.integers(10))
                questions.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": split, "answer": answer,
                                  "options": [*others[:answer], label(number), *others[answer:]]})  # fmt: skip
    third = labels // 3
    gap = [{"label": label(n), "clips": clips, "audio_accuracy": (0.9, 0.9, 0.4)[min(n // third, 2)],
            "visual_accuracy": (0.9, 0.4, 0.9)[min(n // third, 2)], "visual_better": n // third >= 2}
           for n in range(labels)]  # fmt: skip
    for name, schema, data in (("curate/clips", schemas.CLIP, rows), ("ask/questions", schemas.QUESTION, questions),
                               ("gap/gap", schemas.GAP, gap)):  # fmt: skip
        schemas.write(schemas.from_rows(data, schema, name), out / f"{name}.parquet", schema)
    return out


def sound(number: int, seconds: float, random) -> np.ndarray:
    """int16: a tone of the label's own pitch with some noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time) + 0.02 * random.standard_normal(len(time))
    return np.round(wave * 32767).astype(np.int16)


def pictures(number: int, index: int, count: int) -> list[bytes]:
    """JPEGs 96 x 64: a square that moves, on the label's own ground."""
    made = []
    for second in range(count):
        image = np.full((64, 96, 3), (40 + 12 * number, 120, 200 - 10 * number), np.uint8)
        image[20:44, 8 + 16 * second : 32 + 16 * second] = (230, 220, 40 * (index % 6))
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=92)
        made.append(buffer.getvalue())
    return made
