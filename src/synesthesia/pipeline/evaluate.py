"""Ask one model the questions of its splits, through its own sense.

Examples:
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
from synesthesia.config import Config, ModelConfig
from synesthesia.pipeline import accuracy_record, stage_cli
from synesthesia.utils import distributed

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import TextOnlyModel

OUTPUT_DIR = Path("out/answer")
STORE_DIR = Path("out/curate/store")


def run(config: Config, item: str) -> None:
    """Write out/answer/<model>/<split>.parquet for each split of the model; finished parts survive a kill."""
    model = stage_cli.get_item(config.models, item, "model")
    with tracking.start_run("answer", item) as session:
        family = load_respondent(model, item)
        evaluate_splits(config, family, item, model.splits, OUTPUT_DIR / item, Path(model.checkpoint), model.batch_size)
        if distributed.is_main():
            session.finish(build_record(config, item))


def load_respondent(model_config: ModelConfig, respondent_name: str) -> LanguageModel | TextOnlyModel:
    """The entry's model, ready to answer; an endpoint is ready without torch."""
    from synesthesia import models

    if models.is_text_only(model_config):
        return models.load_text_model(model_config, respondent_name)
    from synesthesia.utils import device

    return models.load_model(model_config, device.select_device())


def evaluate_splits(
    config: Config, model, respondent: str, splits: Sequence[str], output_dir: Path, weights_path: Path, batch_size: int
) -> None:
    """Answers of respondent `who` to the questions of `splits`, one file a split in the folder `out`."""
    from synesthesia.evaluation import resume
    from synesthesia.models.text_model import TextOnlyModel

    more = {}
    if isinstance(model, TextOnlyModel):
        from synesthesia.evaluation import remote as way
    else:
        from synesthesia.evaluation import local as way

        more["likeliest_tokens"] = config.evaluate.top_k_logits

    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    questions = schemas.read("out/ask/questions.parquet", schemas.QUESTION)
    decides = respondent, config.evaluate.model_dump(), batch_size, weights_path, STORE_DIR / "shards.json"
    for split in splits:
        asked = questions.filter(pc.equal(questions["split"], split))
        key = resume.fingerprint(asked.to_pylist(), *decides)
        answers = way.answer_questions(
            model,
            asked,
            clips,
            STORE_DIR,
            respondent=respondent,
            read=config.evaluate.mode,
            batch=batch_size,
            key=key,
            title=f"{respondent} answers {split}",
            **more,
        )
        if not distributed.is_main():
            continue
        schemas.write(answers, output_dir / f"{split}.parquet", schemas.ANSWER)
        shutil.rmtree(resume.CACHE_DIR / "answers" / key, ignore_errors=True)


def build_record(config: Config, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone."""
    model = config.models[item]
    files = [OUTPUT_DIR / item / f"{split}.parquet" for split in model.splits]
    return accuracy_record.build_accuracy_record(
        "answer", item, files, {**model.model_dump(), **config.evaluate.model_dump()}
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="model", is_distributed=True)
