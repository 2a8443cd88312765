"""What the study shows: labels, clips, questions and practice clips, out of what `make` left under `out/`.

Labels are those the parameters name, or those of Figure 1: `figures.regimes` over the models' gap, so they are chosen
on the models' accuracies alone, as in the paper. Practice clips come from the finetune split, so none is in the plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from synesthesia import schemas
from synesthesia.config import Study
from synesthesia.schemas import CONDITIONS


class MaterialsError(ValueError):
    """The study cannot be made of what is there; the message says what lacks and what to do."""


@dataclass(frozen=True)
class Question:
    """A question as the models get it, and where its clip lies in the store."""

    question_id: str
    clip_id: str
    label: str
    options: tuple[str, ...]
    answer: int
    shard: int
    row: int


@dataclass(frozen=True)
class Materials:
    """Clips of each chosen label (equally many), questions by clip, and practice as (question, condition)."""

    clips: dict[str, list[str]]
    questions: dict[str, Question]
    practice: list[tuple[Question, str]]


def load(study: Study, out: Path = Path("out")) -> Materials:
    """Read the tables under `out` and choose; the store is not touched. Raises MaterialsError."""
    try:
        clips = schemas.read(out / "curate/clips.parquet", schemas.CLIP).to_pandas()
        asked = schemas.read(out / "ask/questions.parquet", schemas.QUESTION).to_pandas()
    except schemas.TableError as error:
        raise MaterialsError(f"{error}\nThe study shows curated clips: run `make` first.") from None
    places = clips.set_index("clip_id")[["video_id", "shard", "row"]]
    asked = asked[asked["clip_id"].isin(places.index)].join(places, on="clip_id")
    asked["label"] = [o[a] for o, a in zip(asked["options"], asked["answer"], strict=True)]
    pool = asked[asked["split"] == study.split].sort_values("clip_id")
    if pool.empty:
        raise MaterialsError(f"study.split: no question of split {study.split}: run `make` first")
    chosen = _clips(study, pool, _labels(study, pool, out))
    used = {clip for names in chosen.values() for clip in names}
    questions = {q.clip_id: q for q in map(_question, pool[pool["clip_id"].isin(used)].itertuples())}
    return Materials(chosen, questions, _practice(study, asked, questions))


def _labels(study: Study, pool: pd.DataFrame, out: Path) -> list[str]:
    there = set(pool["label"])
    if study.labels is not None:
        absent = [label for label in study.labels if label not in there]
        if absent:
            raise MaterialsError(f"study.labels: no {study.split} clip of {', '.join(map(repr, absent))}")
        return sorted(study.labels)
    try:
        gap = schemas.read(out / "gap/gap.parquet", schemas.GAP).to_pandas()
    except schemas.TableError as error:
        raise MaterialsError(f"study.labels is null, so labels are chosen by the models' gap, but {error}") from None
    from synesthesia.analysis.figures import paper  # matplotlib: seconds that only the making of a plan costs

    gap = gap.rename(columns={"audio_accuracy": "audio", "visual_accuracy": "visual"})
    rows = paper.regimes(gap, study.labels_a_regime)
    return sorted(label for row in rows.values() for label in row if label in there)


def _clips(study: Study, pool: pd.DataFrame, labels: list[str]) -> dict[str, list[str]]:
    have = Counter(pool["label"])
    least = min(labels, key=lambda label: have[label])
    wanted = study.clips_a_label or have[least]
    if have[least] < wanted:
        few = ", ".join(f"{label} {have[label]}" for label in labels if have[label] < wanted)
        raise MaterialsError(
            f"study.clips_a_label: {wanted}, but of these labels there are fewer {study.split} clips: {few}; lower it "
            f"(null takes {have[least]}), or leave these labels out"
        )
    random = np.random.default_rng([study.seed, 0xC11B])
    groups = pool.groupby("label")["clip_id"]
    return {label: sorted(random.choice(groups.get_group(label), wanted, replace=False)) for label in labels}


def _practice(study: Study, asked: pd.DataFrame, used: dict[str, Question]) -> list[tuple[Question, str]]:
    """Conditions in turn; clips of other videos than the plan's, each of another label."""
    videos = set(asked["video_id"][asked["clip_id"].isin(used)])
    spare = asked[(asked["split"] == "finetune") & ~asked["video_id"].isin(videos)].sort_values("clip_id")
    spare = spare.sample(frac=1, random_state=study.seed).drop_duplicates("label")
    if len(spare) < study.practice:
        raise MaterialsError(f"study.practice: {study.practice}, but only {len(spare)} labels have a clip to spare")
    questions = [_question(row) for row in spare.head(study.practice).itertuples()]
    return [(question, CONDITIONS[index % 3]) for index, question in enumerate(questions)]


def _question(row) -> Question:
    options = tuple(map(str, row.options))
    return Question(row.question_id, row.clip_id, row.label, options, int(row.answer), int(row.shard), int(row.row))
