"""What a stage that answered questions tells MLflow: accuracy by split, counted as the report counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synesthesia import schemas, tracking

QUESTIONS = Path("out/ask/questions.parquet")


def record(stage: str, item: str, files: Sequence[Path], parameters: Mapping[str, object]) -> tracking.Record | None:
    """Record of an answering stage from its files <split>.parquet; None where one of them is absent."""
    if not QUESTIONS.exists() or not all(file.exists() for file in files):
        return None
    questions = schemas.read(QUESTIONS, schemas.QUESTION)
    truth = dict(zip(questions["question_id"].to_pylist(), questions["answer"].to_pylist(), strict=True))
    metrics: dict[str, float] = {}
    for file in files:
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
        artifacts=list(files),
        inputs=[QUESTIONS, "out/curate/clips.parquet"],
    )
