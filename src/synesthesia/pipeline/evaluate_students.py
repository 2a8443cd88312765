"""Ask a distilled student the questions that its original answered.

examples:
  python -m synesthesia.pipeline.evaluate_students visual-to-audio
  dvc repro examine@visual-to-audio
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from synesthesia import tracking
from synesthesia.config import Params
from synesthesia.pipeline import accuracy_record, distill, evaluate, stage_cli
from synesthesia.utils import distributed

OUT = Path("out/examine")
SPLITS = ("analysis", "test", "unseen")


def run(params: Params, item: str) -> None:
    """Write out/examine/<setting>/<split>.parquet for analysis, test and unseen."""
    setting = stage_cli.choose(params.distill.settings, item, "setting")
    model = params.models[setting.student]
    adapter = distill.OUT / item / "adapter"
    with tracking.session("examine", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters
        from synesthesia.utils import device

        family = adapters.load(models.load(model, device.pick()), adapter)
        evaluate.ask(params, family, item, SPLITS, OUT / item, adapter, model.batch_clips)
        if distributed.is_main():
            session.finish(record(params, item))


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow; its analysis accuracy decides which adapter is called best."""
    setting = params.distill.settings[item]
    files = [OUT / item / f"{split}.parquet" for split in SPLITS]
    made = accuracy_record.record("examine", item, files, setting.model_dump())
    if made is None:
        return None
    return dataclasses.replace(made, model=distill.adapter_model(params, item, made.metrics.get("accuracy.analysis")))


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item="setting", several=True)
