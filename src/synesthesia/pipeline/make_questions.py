"""Draw one ten-option question per clip, the same for every model and every human.

    out/curate/clips.parquet, out/curate/labels.json   ->   out/make_questions/questions.parquet

Label frequencies come from the lists, not from the files that decode, so that a missing or damaged file does not change
the question of any other clip.

Examples:
    python -m synesthesia.pipeline.make_questions
    python -m synesthesia.pipeline.make_questions --params params/paper.yaml
"""

from __future__ import annotations

import json
from pathlib import Path

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.pipeline import stage_cli
from synesthesia.questions import sampling

CLIPS_FILE, LABEL_COUNTS_FILE = Path("out/curate/clips.parquet"), Path("out/curate/labels.json")
QUESTIONS_FILE = Path("out/make_questions/questions.parquet")


def run(config: Config) -> None:
    """Draw the questions and write them in the order of the clips.

    Args:
        config: The configuration.
    """
    with tracking.start_run("make_questions") as session:
        make_questions(config)
        session.finish(stage_cli.require_record(build_record(config, None)))


def make_questions(config: Config) -> None:
    """Write out/make_questions/questions.parquet.

    Args:
        config: The configuration.

    Raises:
        QuestionError: Label frequencies are missing, or there are fewer labels than options.
    """
    clips = schemas.read(CLIPS_FILE, schemas.CLIP)
    try:
        frequencies = json.loads(LABEL_COUNTS_FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise sampling.QuestionError(
            f"{LABEL_COUNTS_FILE} is missing or damaged: run `dvc repro curate` first"
        ) from None
    question_config = config.make_questions
    questions = sampling.draw_questions(
        clips, question_config.seed, question_config.num_options, question_config.distractors, frequencies
    )
    schemas.write(questions, QUESTIONS_FILE, schemas.QUESTION)


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not QUESTIONS_FILE.exists():
        return None
    counts = schemas.read(QUESTIONS_FILE, schemas.QUESTION)["split"].value_counts().to_pylist()
    return tracking.Record(
        stage="make_questions",
        parameters=tracking.flatten(config.make_questions),
        metrics={f"questions.{c['values']}": float(c["counts"]) for c in counts},
        artifacts=[QUESTIONS_FILE],
        inputs=[CLIPS_FILE, LABEL_COUNTS_FILE],
    )


def main() -> None:
    """Run the command line of the stage."""
    stage_cli.main(run, __doc__)


if __name__ == "__main__":
    main()
