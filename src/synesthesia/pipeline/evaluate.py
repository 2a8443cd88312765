"""Ask one model the questions of its splits, through its own sense.

examples:
  python -m synesthesia.pipeline.evaluate qwen2-audio
  dvc repro answer@qwen2-vl
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Model, Params
from synesthesia.pipeline import accuracy_record, stage_cli
from synesthesia.utils import distributed

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import Talker

OUT = Path("out/answer")
STORE = Path("out/curate/store")


def run(params: Params, item: str) -> None:
    """Write out/answer/<model>/<split>.parquet for each split of the model; finished parts survive a kill."""
    model = stage_cli.choose(params.models, item, "model")
    with tracking.session("answer", item) as session:
        family = respondent(model, item)
        ask(params, family, item, model.splits, OUT / item, Path(model.checkpoint), model.batch_clips)
        if distributed.is_main():
            session.finish(record(params, item))


def respondent(model: Model, item: str) -> LanguageModel | Talker:
    """The entry's model, ready to answer; an endpoint is ready without torch."""
    from synesthesia import models

    if models.talks(model):
        return models.load_talker(model, item)
    from synesthesia.utils import device

    return models.load(model, device.pick())


def ask(params: Params, family, who: str, splits: Sequence[str], out: Path, weights: Path, batch: int) -> None:
    """Answers of respondent `who` to the questions of `splits`, one file a split in the folder `out`."""
    from synesthesia.evaluation import resume
    from synesthesia.models.text_model import Talker

    more = {}
    if isinstance(family, Talker):
        from synesthesia.evaluation import remote as way
    else:
        from synesthesia.evaluation import local as way

        more["likeliest_tokens"] = params.answer.likeliest_tokens

    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    questions = schemas.read("out/ask/questions.parquet", schemas.QUESTION)
    decides = who, params.answer.model_dump(), batch, weights, STORE / "shards.json"
    for split in splits:
        asked = questions.filter(pc.equal(questions["split"], split))
        key = resume.fingerprint(asked.to_pylist(), *decides)
        answers = way.answer(
            family,
            asked,
            clips,
            STORE,
            respondent=who,
            read=params.answer.read,
            batch=batch,
            key=key,
            title=f"{who} answers {split}",
            **more,
        )
        if not distributed.is_main():
            continue
        schemas.write(answers, out / f"{split}.parquet", schemas.ANSWER)
        shutil.rmtree(resume.PARTIAL / "answers" / key, ignore_errors=True)


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone."""
    model = params.models[item]
    files = [OUT / item / f"{split}.parquet" for split in model.splits]
    return accuracy_record.record("answer", item, files, {**model.model_dump(), **params.answer.model_dump()})


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item="model", several=True)
