"""Let a distilled student answer the questions that the original student answered.

Examples:
  python -m synesthesia.pipeline.evaluate_students visual-to-audio
  dvc repro evaluate_students@visual-to-audio
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from synesthesia import tracking
from synesthesia.config import Config
from synesthesia.pipeline import accuracy_record, distill, evaluate, stage_cli
from synesthesia.utils import distributed

OUTPUT_DIR = Path("out/evaluate_students")
SPLITS = ("analysis", "test", "unseen")


def run(config: Config, item: str) -> None:
    """Write out/evaluate_students/<setting>/<split>.parquet for analysis, test and unseen.

    Args:
        config: The configuration.
        item: Key of the setting.
    """
    setting = stage_cli.get_item(config.distill.settings, item, "setting")
    model_config = config.models[setting.student]
    adapter_dir = distill.OUTPUT_DIR / item / "adapter"
    with tracking.start_run("evaluate_students", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters
        from synesthesia.utils import device

        student = models.load_model(
            model_config, device.select_device(), config.acceleration, config.curate.frames_per_second
        )
        student = adapters.load(student, adapter_dir)
        evaluate.evaluate_splits(config, student, item, SPLITS, OUTPUT_DIR / item, model_config, adapter_dir)
        if distributed.is_main():
            session.finish(stage_cli.require_record(build_record(config, item)))


def build_record(config: Config, item: str) -> tracking.Record | None:
    """Build the MLflow record of a student from its outputs.

    Args:
        config: The configuration.
        item: Key of the setting.

    Returns:
        The record, or None if outputs are missing. Its model carries the accuracy on analysis, which selects the best
        adapter.
    """
    setting = config.distill.settings[item]
    files = [OUTPUT_DIR / item / f"{split}.parquet" for split in SPLITS]
    record = accuracy_record.build_accuracy_record("evaluate_students", item, files, setting.model_dump())
    if record is None:
        return None
    model = distill.make_registered_model(config, item, record.metrics.get("accuracy.analysis"))
    return dataclasses.replace(record, model=model)


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="setting", is_distributed=True)
