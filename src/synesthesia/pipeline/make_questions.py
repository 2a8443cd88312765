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
from synesthesia.config import Params
from synesthesia.pipeline import stage_cli
from synesthesia.questions import sampling

CLIPS, LABELS = Path("out/curate/clips.parquet"), Path("out/curate/labels.json")
QUESTIONS = Path("out/ask/questions.parquet")


def run(params: Params) -> None:
    """Draw the questions and write them, in the clips' order."""
    with tracking.session("ask") as session:
        draw(params)
        session.finish(record(params, None))


def draw(params: Params) -> None:
    """The work itself."""
    clips = schemas.read(CLIPS, schemas.CLIP)
    try:
        frequencies = json.loads(LABELS.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise sampling.QuestionError(f"{LABELS} is missing or damaged: run `dvc repro curate` first") from None
    ask = params.ask
    drawn = sampling.sample(clips, ask.seed, ask.options, ask.distractors, frequencies)
    schemas.write(drawn, QUESTIONS, schemas.QUESTION)


def record(params: Params, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not QUESTIONS.exists():
        return None
    asked = schemas.read(QUESTIONS, schemas.QUESTION)
    counts = asked["split"].value_counts().to_pylist()
    return tracking.Record(
        stage="ask",
        parameters=tracking.flatten(params.ask),
        metrics={f"questions.{c['values']}": float(c["counts"]) for c in counts},
        artifacts=[QUESTIONS],
        inputs=[CLIPS, LABELS],
    )


def main() -> None:
    """Command line."""
    stage_cli.main(run, __doc__)


if __name__ == "__main__":
    main()
