"""MLflow records of stages that answer questions: accuracy per split, computed as in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synesthesia import schemas, tracking

QUESTIONS_FILE = Path("out/make_questions/questions.parquet")


def build_accuracy_record(
    stage: str, item: str, answer_files: Sequence[Path], parameters: Mapping[str, object]
) -> tracking.Record | None:
    """Build the record of a stage that answers questions.

    Args:
        stage: Name of the stage.
        item: Name of the stage item.
        answer_files: Files <split>.parquet with schemas.ANSWER.
        parameters: Parameters to log.

    Returns:
        The record with `accuracy.<split>` in [0, 1] and `unparseable.<split>` (a count; these answers are wrong), or
        None if a file is missing.
    """
    if not QUESTIONS_FILE.exists() or not all(file.exists() for file in answer_files):
        return None
    questions = schemas.read(QUESTIONS_FILE, schemas.QUESTION)
    targets = dict(zip(questions["question_id"].to_pylist(), questions["target"].to_pylist(), strict=True))
    metrics: dict[str, float] = {}
    for file in answer_files:
        answers = schemas.read(file, schemas.ANSWER)
        choices = answers["choice"].to_pylist()
        is_correct = [
            choice is not None and choice == targets[question_id]
            for question_id, choice in zip(answers["question_id"].to_pylist(), choices, strict=True)
        ]
        if is_correct:
            metrics[f"accuracy.{file.stem}"] = float(np.mean(is_correct))
            metrics[f"unparseable.{file.stem}"] = float(sum(choice is None for choice in choices))
    return tracking.Record(
        stage=stage,
        item=item,
        parameters=tracking.flatten(dict(parameters)),
        metrics=metrics,
        artifacts=list(answer_files),
        inputs=[QUESTIONS_FILE, "out/curate/clips.parquet"],
    )
