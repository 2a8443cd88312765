"""Ask a distilled student the questions that its original answered.

Examples:
  python -m synesthesia.pipeline.evaluate_students visual-to-audio
  dvc repro examine@visual-to-audio
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from synesthesia import tracking
from synesthesia.config import Config
from synesthesia.pipeline import accuracy_record, distill, evaluate, stage_cli
from synesthesia.utils import distributed

OUTPUT_DIR = Path("out/examine")
SPLITS = ("analysis", "test", "unseen")


def run(config: Config, item: str) -> None:
    """Write out/examine/<setting>/<split>.parquet for analysis, test and unseen."""
    setting = stage_cli.get_item(config.distill.settings, item, "setting")
    model = config.models[setting.student]
    adapter = distill.OUTPUT_DIR / item / "adapter"
    with tracking.start_run("examine", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters
        from synesthesia.utils import device

        family = adapters.load(models.load_model(model, device.select_device()), adapter)
        evaluate.evaluate_splits(config, family, item, SPLITS, OUTPUT_DIR / item, adapter, model.batch_size)
        if distributed.is_main():
            session.finish(build_record(config, item))


def build_record(config: Config, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow; its analysis accuracy decides which adapter is called best."""
    setting = config.distill.settings[item]
    files = [OUTPUT_DIR / item / f"{split}.parquet" for split in SPLITS]
    made = accuracy_record.build_accuracy_record("examine", item, files, setting.model_dump())
    if made is None:
        return None
    return dataclasses.replace(
        made, model=distill.make_registered_model(config, item, made.metrics.get("accuracy.analysis"))
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="setting", is_distributed=True)
