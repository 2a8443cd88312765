"""Let one model answer the questions of its splits, in its own modality.

Examples:
  python -m synesthesia.pipeline.evaluate qwen2-audio
  dvc repro evaluate@qwen2-vl
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from synesthesia import schemas, tracking
from synesthesia.config import AccelerationConfig, Config, ModelConfig
from synesthesia.pipeline import accuracy_record, stage_cli
from synesthesia.utils import distributed, io

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import TextOnlyModel

OUTPUT_DIR = Path("out/evaluate")
STORE_DIR = Path("out/curate/store")


def run(config: Config, item: str) -> None:
    """Write out/evaluate/<model>/<split>.parquet for each split of the model; a killed run resumes.

    Args:
        config: The configuration.
        item: Key of the model.
    """
    model_config = stage_cli.get_item(config.models, item, "model")
    with tracking.start_run("evaluate", item) as session:
        model = load_respondent(model_config, item, config.acceleration, config.curate.frames_per_second)
        evaluate_splits(
            config,
            model,
            item,
            model_config.splits,
            OUTPUT_DIR / item,
            model_config,
        )
        if distributed.is_main():
            write_checkpoint_hash(model_config, OUTPUT_DIR / item)
            session.finish(stage_cli.require_record(build_record(config, item)))


def load_respondent(
    model_config: ModelConfig,
    respondent_name: str,
    acceleration: AccelerationConfig | None = None,
    frames_per_second: float = 1.0,
) -> LanguageModel | TextOnlyModel:
    """Load a model for answering. Models behind an API load without torch.

    Args:
        model_config: The entry of the model.
        respondent_name: Its key, for error messages.
        acceleration: Speed-ups of models that run in this process; None applies the defaults.
        frames_per_second: Rate of the stored frames.

    Returns:
        The model.
    """
    from synesthesia import models

    if models.is_text_only(model_config):
        return models.load_text_model(model_config, respondent_name, frames_per_second)
    from synesthesia.utils import device

    return models.load_model(model_config, device.select_device(), acceleration, frames_per_second)


def evaluate_splits(
    config: Config,
    model: LanguageModel | TextOnlyModel,
    respondent: str,
    splits: Sequence[str],
    output_dir: Path,
    model_config: ModelConfig,
    adapter_dir: Path | None = None,
) -> None:
    """Answer the questions of splits and write <split>.parquet (schemas.ANSWER) for each.

    Args:
        config: The configuration.
        model: The model.
        respondent: Name of the respondent in the answers.
        splits: Splits to answer.
        output_dir: Folder of the files.
        model_config: Entry of the model, or of the student's base model.
        adapter_dir: Folder of the student's adapter; None for a model without one.
    """
    from synesthesia.evaluation import resume

    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    questions = schemas.read("out/make_questions/questions.parquet", schemas.QUESTION)
    batch_size = model_config.batch_size
    cache_inputs = (
        respondent,
        config.evaluate.model_dump(),
        config.acceleration.model_dump(),
        config.curate.frames_per_second,
        model_config.model_dump(exclude={"title", "role", "splits"}),
        Path(model_config.checkpoint),
        adapter_dir,
        STORE_DIR / "shards.json",
    )
    for split in splits:
        split_questions = schemas.select_split(questions, split)
        cache_key = resume.fingerprint(split_questions.to_pylist(), *cache_inputs)
        answers = _answer_questions(config, model, split_questions, clips, respondent, split, batch_size, cache_key)
        if not distributed.is_main():
            continue
        schemas.write(answers, output_dir / f"{split}.parquet", schemas.ANSWER)
        shutil.rmtree(resume.CACHE_DIR / "answers" / cache_key, ignore_errors=True)


def write_checkpoint_hash(model_config: ModelConfig, output_dir: Path) -> None:
    """Write the hash of a checkpoint, or of an endpoint's file, which the stages of its students depend on.

    Args:
        model_config: Entry of the model.
        output_dir: Folder of its answers.
    """
    from synesthesia.evaluation import resume

    content = {"sha256": resume.hash_once(Path(model_config.checkpoint))}
    io.write_atomic(output_dir / "checkpoint.json", json.dumps(content, indent=2) + "\n")


def _answer_questions(
    config: Config,
    model: LanguageModel | TextOnlyModel,
    questions: pa.Table,
    clips: pa.Table,
    respondent: str,
    split: str,
    batch_size: int,
    cache_key: str,
) -> pa.Table:
    from synesthesia.models.text_model import TextOnlyModel

    title = f"{respondent} answers {split}"
    if isinstance(model, TextOnlyModel):
        from synesthesia.evaluation import remote

        return remote.answer_questions(
            model,
            questions,
            clips,
            STORE_DIR,
            respondent=respondent,
            answer_mode=config.evaluate.mode,
            batch_size=batch_size,
            cache_key=cache_key,
            title=title,
        )
    from synesthesia.evaluation import local

    return local.answer_questions(
        model,
        questions,
        clips,
        STORE_DIR,
        respondent=respondent,
        answer_mode=config.evaluate.mode,
        batch_size=batch_size,
        cache_key=cache_key,
        title=title,
        top_k_logits=config.evaluate.top_k_logits,
    )


def build_record(config: Config, item: str) -> tracking.Record | None:
    """Build the MLflow record of a model from its outputs.

    Args:
        config: The configuration.
        item: Key of the model.

    Returns:
        The record, or None if outputs are missing.
    """
    model_config = config.models[item]
    files = [OUTPUT_DIR / item / f"{split}.parquet" for split in model_config.splits]
    parameters = {**model_config.model_dump(), **config.evaluate.model_dump()}
    if model_config.family == "endpoint":
        from synesthesia.models.endpoint_config import EndpointConfig

        parameters |= tracking.flatten({"endpoint": EndpointConfig.load(model_config.checkpoint).model_dump()})
    return accuracy_record.build_accuracy_record("evaluate", item, files, parameters)


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="model", is_distributed=True)
