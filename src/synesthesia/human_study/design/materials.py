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
from synesthesia.config import HumanStudyConfig
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
    target: int
    shard: int
    row: int


@dataclass(frozen=True)
class Materials:
    """Clips of each chosen label (equally many), questions by clip, and practice as (question, condition)."""

    clips: dict[str, list[str]]
    questions: dict[str, Question]
    practice: list[tuple[Question, str]]


def load_materials(config: HumanStudyConfig, out_dir: Path = Path("out")) -> Materials:
    """Read the tables under `out` and choose; the store is not touched. Raises MaterialsError."""
    try:
        clips = schemas.read(out_dir / "curate/clips.parquet", schemas.CLIP).to_pandas()
        asked = schemas.read(out_dir / "ask/questions.parquet", schemas.QUESTION).to_pandas()
    except schemas.SchemaError as error:
        raise MaterialsError(f"{error}\nThe study shows curated clips: run `make` first.") from None
    places = clips.set_index("clip_id")[["video_id", "shard", "row"]]
    asked = asked[asked["clip_id"].isin(places.index)].join(places, on="clip_id")
    asked["label"] = [o[a] for o, a in zip(asked["options"], asked["answer"], strict=True)]
    pool = asked[asked["split"] == config.split].sort_values("clip_id")
    if pool.empty:
        raise MaterialsError(f"study.split: no question of split {config.split}: run `make` first")
    chosen = _select_clips(config, pool, _select_labels(config, pool, out_dir))
    used = {clip for names in chosen.values() for clip in names}
    questions = {q.clip_id: q for q in map(_to_question, pool[pool["clip_id"].isin(used)].itertuples())}
    return Materials(chosen, questions, _select_practice(config, asked, questions))


def _select_labels(config: HumanStudyConfig, pool: pd.DataFrame, out_dir: Path) -> list[str]:
    there = set(pool["label"])
    if config.labels is not None:
        absent = [label for label in config.labels if label not in there]
        if absent:
            raise MaterialsError(f"study.labels: no {config.split} clip of {', '.join(map(repr, absent))}")
        return sorted(config.labels)
    try:
        gap = schemas.read(out_dir / "gap/gap.parquet", schemas.GAP).to_pandas()
    except schemas.SchemaError as error:
        raise MaterialsError(f"study.labels is null, so labels are chosen by the models' gap, but {error}") from None
    from synesthesia.analysis.figures import paper  # matplotlib: seconds that only the making of a plan costs

    gap = gap.rename(columns={"audio_accuracy": "audio", "visual_accuracy": "visual"})
    rows = paper.group_labels(gap, config.labels_per_group)
    return sorted(label for row in rows.values() for label in row if label in there)


def _select_clips(config: HumanStudyConfig, pool: pd.DataFrame, labels: list[str]) -> dict[str, list[str]]:
    have = Counter(pool["label"])
    least = min(labels, key=lambda label: have[label])
    wanted = config.clips_per_label or have[least]
    if have[least] < wanted:
        few = ", ".join(f"{label} {have[label]}" for label in labels if have[label] < wanted)
        raise MaterialsError(
            f"study.clips_a_label: {wanted}, but of these labels there are fewer {config.split} clips: {few}; lower it "
            f"(null takes {have[least]}), or leave these labels out"
        )
    random = np.random.default_rng([config.seed, 0xC11B])
    groups = pool.groupby("label")["clip_id"]
    return {label: sorted(random.choice(groups.get_group(label), wanted, replace=False)) for label in labels}


def _select_practice(
    config: HumanStudyConfig, question_table: pd.DataFrame, planned_questions: dict[str, Question]
) -> list[tuple[Question, str]]:
    """Conditions in turn; clips of other videos than the plan's, each of another label."""
    videos = set(question_table["video_id"][question_table["clip_id"].isin(planned_questions)])
    spare = question_table[
        (question_table["split"] == "finetune") & ~question_table["video_id"].isin(videos)
    ].sort_values("clip_id")
    spare = spare.sample(frac=1, random_state=config.seed).drop_duplicates("label")
    if len(spare) < config.practice_trials:
        raise MaterialsError(
            f"study.practice: {config.practice_trials}, but only {len(spare)} labels have a clip to spare"
        )
    questions = [_to_question(row) for row in spare.head(config.practice_trials).itertuples()]
    return [(question, CONDITIONS[index % 3]) for index, question in enumerate(questions)]


def _to_question(row) -> Question:
    options = tuple(map(str, row.options))
    return Question(row.question_id, row.clip_id, row.label, options, int(row.answer), int(row.shard), int(row.row))
