"""Study materials from the pipeline's outputs: labels, clips, questions, and practice clips.

Labels are those that the parameters name, or those of Figure 1: `gap.group_labels` on the models' gap, so they are
selected by the models' accuracies alone, as in the paper. Practice clips come from the finetune split, so none is in
the plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synesthesia import schemas
from synesthesia.config import HumanStudyConfig
from synesthesia.distillation.gap import group_labels
from synesthesia.schemas import CONDITIONS


class MaterialsError(ValueError):
    """The pipeline's outputs do not suffice for the study; the message names the shortage and a remedy."""


@dataclass(frozen=True)
class Question:
    """A question as the models receive it, and its clip's location in the store.

    Attributes:
        question_id: Question id.
        clip_id: Clip id.
        label: Text of the correct option.
        options: Options in the order of the letters.
        target: Index of the correct option.
        shard: Shard of the clip.
        row: Row of the clip in its shard.
    """

    question_id: str
    clip_id: str
    label: str
    options: tuple[str, ...]
    target: int
    shard: int
    row: int


@dataclass(frozen=True)
class Materials:
    """The materials of a study.

    Attributes:
        clips: Clip ids by label, equally many per label.
        questions: Questions of the plan by clip id.
        practice: Practice questions with their conditions.
    """

    clips: dict[str, list[str]]
    questions: dict[str, Question]
    practice: list[tuple[Question, str]]


def load_materials(config: HumanStudyConfig, out_dir: Path = Path("out")) -> Materials:
    """Load the pipeline's tables and select the materials; reads no media.

    Args:
        config: Study parameters.
        out_dir: Folder of the pipeline's outputs.

    Returns:
        The materials.

    Raises:
        MaterialsError: A table is missing, or there are too few labels or clips.
    """
    try:
        clips = schemas.read(out_dir / "curate/clips.parquet", schemas.CLIP).to_pandas()
        questions = schemas.read(out_dir / "make_questions/questions.parquet", schemas.QUESTION).to_pandas()
    except schemas.SchemaError as error:
        raise MaterialsError(f"{error}\nThe study shows curated clips: run `make` first.") from None
    clips = clips.set_index("clip_id")[["video_id", "shard", "row"]]
    questions = questions[questions["clip_id"].isin(clips.index)].join(clips, on="clip_id")
    questions["label"] = [o[t] for o, t in zip(questions["options"], questions["target"], strict=True)]
    pool = questions[questions["split"] == config.split].sort_values("clip_id")
    if pool.empty:
        raise MaterialsError(f"human_study.split: there are no questions of split {config.split}: run `make` first")
    selected = _select_clips(config, pool, _select_labels(config, pool, out_dir))
    clip_ids = {clip_id for label_clips in selected.values() for clip_id in label_clips}
    planned = {q.clip_id: q for q in map(_to_question, pool[pool["clip_id"].isin(clip_ids)].itertuples())}
    return Materials(selected, planned, _select_practice(config, questions, planned))


def _select_labels(config: HumanStudyConfig, pool: pd.DataFrame, out_dir: Path) -> list[str]:
    available = set(pool["label"])
    if config.labels is not None:
        missing = [label for label in config.labels if label not in available]
        if missing:
            raise MaterialsError(f"human_study.labels: no {config.split} clip of {', '.join(map(repr, missing))}")
        return sorted(config.labels)
    try:
        gap = schemas.read(out_dir / "measure_gap/gap.parquet", schemas.GAP).to_pandas()
    except schemas.SchemaError as error:
        raise MaterialsError(
            f"human_study.labels is null, so the models' gap selects the labels, but {error}"
        ) from None
    gap = gap.rename(columns={"audio_accuracy": "audio", "visual_accuracy": "visual"})
    groups = group_labels(gap, config.labels_per_group)
    return sorted(label for labels in groups.values() for label in labels if label in available)


def _select_clips(config: HumanStudyConfig, pool: pd.DataFrame, labels: list[str]) -> dict[str, list[str]]:
    n_clips = Counter(pool["label"])
    rarest = min(labels, key=lambda label: n_clips[label])
    n_selected = config.clips_per_label or n_clips[rarest]
    if n_clips[rarest] < n_selected:
        rare = ", ".join(f"{label} {n_clips[label]}" for label in labels if n_clips[label] < n_selected)
        raise MaterialsError(
            f"human_study.clips_per_label: {n_selected}, but these labels have fewer {config.split} clips: {rare}; "
            f"lower it (null takes {n_clips[rarest]}), or omit these labels"
        )
    rng = np.random.default_rng([config.seed, 0xC11B])
    groups = pool.groupby("label")["clip_id"]
    return {label: sorted(rng.choice(groups.get_group(label), n_selected, replace=False)) for label in labels}


def _select_practice(
    config: HumanStudyConfig, questions: pd.DataFrame, planned: dict[str, Question]
) -> list[tuple[Question, str]]:
    """Cycle through the conditions, with clips of other videos than the plan's, each of another label."""
    planned_videos = list(questions["video_id"][questions["clip_id"].isin(planned)])
    is_spare = (questions["split"] == "finetune") & ~questions["video_id"].isin(planned_videos)
    spare = questions.loc[is_spare].sort_values("clip_id")
    spare = spare.sample(frac=1, random_state=config.seed).drop_duplicates("label")
    if len(spare) < config.practice_trials:
        raise MaterialsError(
            f"human_study.practice_trials: {config.practice_trials}, but only {len(spare)} labels have a spare clip"
        )
    practice = [_to_question(row) for row in spare.head(config.practice_trials).itertuples()]
    return [(question, CONDITIONS[index % 3]) for index, question in enumerate(practice)]


def _to_question(row: Any) -> Question:
    options = tuple(map(str, row.options))
    return Question(row.question_id, row.clip_id, row.label, options, int(row.target), int(row.shard), int(row.row))
