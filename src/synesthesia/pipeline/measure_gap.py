"""Measure the label gap: which model is more accurate on each label (paper section 3.2).

Compares the accuracies of `measure_gap.audio` and `measure_gap.visual` on the analysis clips of each label. The visual
model is better only if it is strictly better; a tie counts as "audio at least as good", as in the paper (226 of 286
labels).
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.distillation import gap
from synesthesia.pipeline import stage_cli
from synesthesia.utils import io

OUTPUT_DIR = Path("out/measure_gap")
QUESTIONS_FILE = Path("out/make_questions/questions.parquet")


def run(config: Config) -> None:
    """Write out/measure_gap/gap.parquet and out/measure_gap/metrics.json.

    Args:
        config: The configuration.
    """
    with tracking.start_run("measure_gap") as session:
        measure_gap(config)
        session.finish(stage_cli.require_record(build_record(config, None)))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "gap.parquet").exists():
        return None
    return tracking.Record(
        stage="measure_gap",
        parameters=tracking.flatten(config.measure_gap),
        metrics=json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8")),
        artifacts=[OUTPUT_DIR / "gap.parquet"],
        inputs=[
            f"out/evaluate/{config.measure_gap.audio}",
            f"out/evaluate/{config.measure_gap.visual}",
            QUESTIONS_FILE,
        ],
    )


def measure_gap(config: Config) -> None:
    """Compute and write the label gap.

    Args:
        config: The configuration.

    Raises:
        SchemaError: There are no analysis questions, or questions, clips and answers do not match.
    """
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pandas()
    questions = schemas.read(QUESTIONS_FILE, schemas.QUESTION).to_pandas()
    questions = questions[questions["split"] == "analysis"]
    if questions.empty:
        raise schemas.SchemaError(f"{QUESTIONS_FILE} has no analysis question, so there is no gap to measure")
    analysis_clip_ids = clips["clip_id"][clips["split"] == "analysis"]
    unknown_clips = questions["clip_id"][~questions["clip_id"].isin(analysis_clip_ids)]
    if len(unknown_clips):
        raise schemas.SchemaError(
            f"{QUESTIONS_FILE}: {unknown_clips.iloc[0]} is not an analysis clip; run the stage make_questions"
        )

    def read_answers(model: str) -> pd.DataFrame:
        return schemas.read(f"out/evaluate/{model}/analysis.parquet", schemas.ANSWER).to_pandas()

    label_gap = gap.compute_label_gap(
        questions, read_answers(config.measure_gap.audio), read_answers(config.measure_gap.visual)
    )
    table = schemas.from_rows(label_gap.to_dict("records"), schemas.GAP, "gap")
    schemas.write(table, OUTPUT_DIR / "gap.parquet", schemas.GAP)
    io.write_atomic(OUTPUT_DIR / "metrics.json", json.dumps(gap.summarize_gap(label_gap), indent=2) + "\n")


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
