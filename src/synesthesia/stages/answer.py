"""Ask one model the questions of its splits, through its own sense.

examples:
  python -m synesthesia.stages.answer qwen2-audio
  dvc repro answer@qwen2-vl
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import processes, tables, tracking
from synesthesia.params import Params
from synesthesia.stages import accuracies, entry

OUT = Path("out/answer")
STORE = Path("out/curate/store")


def run(params: Params, item: str) -> None:
    """Write out/answer/<model>/<split>.parquet for each split of the model; finished parts survive a kill."""
    model = entry.choose(params.models, item, "model")
    with tracking.session("answer", item) as session:
        from synesthesia import models
        from synesthesia.models import device

        family = models.load(model, device.pick())
        ask(params, family, item, model.splits, OUT / item, Path(model.checkpoint), model.batch_clips)
        if processes.is_main():
            session.finish(record(params, item))


def ask(params: Params, family, who: str, splits: Sequence[str], out: Path, weights: Path, batch: int) -> None:
    """Answers of respondent `who` to the questions of `splits`, one file a split in the folder `out`."""
    from synesthesia import answering

    clips = tables.read("out/curate/clips.parquet", tables.CLIP)
    questions = tables.read("out/ask/questions.parquet", tables.QUESTION)
    decides = who, params.answer.model_dump(), batch, weights, STORE / "shards.json"
    for split in splits:
        asked = questions.filter(pc.equal(questions["split"], split))
        key = answering.fingerprint(asked.to_pylist(), *decides)
        answers = answering.answer(
            family,
            asked,
            clips,
            STORE,
            respondent=who,
            read=params.answer.read,
            batch=batch,
            key=key,
            title=f"{who} answers {split}",
        )
        if not processes.is_main():
            continue
        tables.write(answers, out / f"{split}.parquet", tables.ANSWER)
        shutil.rmtree(answering.PARTIAL / "answers" / key, ignore_errors=True)


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone."""
    model = params.models[item]
    files = [OUT / item / f"{split}.parquet" for split in model.splits]
    return accuracies.record("answer", item, files, {**model.model_dump(), **params.answer.model_dump()})


if __name__ == "__main__":
    entry.main(run, __doc__, item="model", several=True)
