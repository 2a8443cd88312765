"""ask: one ten-option question a clip, the same for every model and every human.

    out/curate/clips.parquet, out/curate/labels.json   ->   out/ask/questions.parquet

Label frequencies are those of the lists, not of the files that could be read, so that a lost or damaged file changes
no other clip's question.

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
QUESTIONS_FILE = Path("out/ask/questions.parquet")


def run(config: Config) -> None:
    """Draw the questions and write them, in the clips' order."""
    with tracking.start_run("ask") as session:
        make_questions(config)
        session.finish(build_record(config, None))


def make_questions(config: Config) -> None:
    """The work itself."""
    clips = schemas.read(CLIPS_FILE, schemas.CLIP)
    try:
        frequencies = json.loads(LABEL_COUNTS_FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise sampling.QuestionError(
            f"{LABEL_COUNTS_FILE} is missing or damaged: run `dvc repro curate` first"
        ) from None
    ask = config.make_questions
    drawn = sampling.draw_questions(clips, ask.seed, ask.num_options, ask.distractors, frequencies)
    schemas.write(drawn, QUESTIONS_FILE, schemas.QUESTION)


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not QUESTIONS_FILE.exists():
        return None
    asked = schemas.read(QUESTIONS_FILE, schemas.QUESTION)
    counts = asked["split"].value_counts().to_pylist()
    return tracking.Record(
        stage="ask",
        parameters=tracking.flatten(config.make_questions),
        metrics={f"questions.{c['values']}": float(c["counts"]) for c in counts},
        artifacts=[QUESTIONS_FILE],
        inputs=[CLIPS_FILE, LABEL_COUNTS_FILE],
    )


def main() -> None:
    """Command line."""
    stage_cli.main(run, __doc__)


if __name__ == "__main__":
    main()
