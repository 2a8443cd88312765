"""What a stage that answered questions tells MLflow: accuracy by split, counted as the report counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synesthesia import schemas, tracking

QUESTIONS_FILE = Path("out/ask/questions.parquet")


def build_accuracy_record(
    stage: str, item: str, answer_files: Sequence[Path], parameters: Mapping[str, object]
) -> tracking.Record | None:
    """Record of an answering stage from its files <split>.parquet; None where one of them is absent."""
    if not QUESTIONS_FILE.exists() or not all(file.exists() for file in answer_files):
        return None
    questions = schemas.read(QUESTIONS_FILE, schemas.QUESTION)
    truth = dict(zip(questions["question_id"].to_pylist(), questions["answer"].to_pylist(), strict=True))
    metrics: dict[str, float] = {}
    for file in answer_files:
        answers = schemas.read(file, schemas.ANSWER)
        chosen = answers["choice"].to_pylist()
        right = [
            c is not None and c == truth[q] for q, c in zip(answers["question_id"].to_pylist(), chosen, strict=True)
        ]
        if right:
            metrics[f"accuracy.{file.stem}"] = float(np.mean(right))
            metrics[f"unparseable.{file.stem}"] = float(sum(c is None for c in chosen))
    return tracking.Record(
        stage=stage,
        item=item,
        parameters=tracking.flatten(dict(parameters)),
        metrics=metrics,
        artifacts=list(answer_files),
        inputs=[QUESTIONS_FILE, "out/curate/clips.parquet"],
    )
