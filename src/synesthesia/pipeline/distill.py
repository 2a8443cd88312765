"""Distil one model into the other: one setting of Table 2, or of the other direction (paper section 4).

Examples:
  python -m synesthesia.pipeline.distill visual-to-audio
  dvc repro distill@visual-to-audio-kl
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Config, DistillSetting
from synesthesia.pipeline import stage_cli
from synesthesia.utils import distributed

OUTPUT_DIR = Path("out/distill")
STORE_DIR = Path("out/curate/store")


def run(config: Config, item: str) -> None:
    """Write out/distill/<setting>/adapter and history.csv; a killed run goes on from its last checkpoint."""
    setting = stage_cli.get_item(config.distill.settings, item, "setting")
    model, out = config.models[setting.student], OUTPUT_DIR / item
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    with tracking.start_run("distill", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters, trainer
        from synesthesia.evaluation.resume import CACHE_DIR, fingerprint
        from synesthesia.utils import device

        lessons = build_targets(config, setting)
        student = models.load_model(model, device.select_device())
        device.seed(config.distill.training.seed)
        adapters.add_lora(student, config.distill.lora)
        training = config.distill.training
        decides = setting, config.distill.lora, training.model_copy(update={"checkpoint_minutes": 1.0}), model
        partial = (
            CACHE_DIR
            / "distill"
            / fingerprint(
                [block.model_dump() for block in decides],
                [lessons.questions.to_pylist(), lessons.letters.tolist(), lessons.soft.tolist()],
                [lessons.teacher_logits.tolist(), None if lessons.tokens is None else lessons.tokens.tolist()],
                Path(model.checkpoint),
                STORE_DIR / "shards.json",
            )
        )
        history = trainer.train(
            student,
            lessons,
            clips,
            STORE_DIR,
            training,
            checkpoint_dir=partial,
            checkpoint_interval_seconds=60 * training.checkpoint_interval_minutes,
            title=f"distil {item}",
            log_metric=session.log_metric,
        )
        if not distributed.is_main():
            return
        out.mkdir(parents=True, exist_ok=True)
        with open(out / "history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: v if k == "step" else f"{v:.6g}" for k, v in row.items()} for row in history)
        adapters.save(student, out / "adapter", model.checkpoint)
        shutil.rmtree(partial, ignore_errors=True)
        session.finish(build_record(config, item))


def build_targets(config: Config, setting: DistillSetting):
    """What each finetune clip teaches in this setting (distillation.targets.Targets)."""
    from synesthesia.distillation.targets import make_targets

    questions = schemas.read("out/ask/questions.parquet", schemas.QUESTION)
    asked = questions.filter(pc.equal(questions["split"], "finetune"))
    route = schemas.read("out/route/route.parquet", schemas.ROUTE)
    column = "visual_teaches" if setting.teacher == config.measure_gap.visual else "audio_teaches"
    closed = dict(zip(route["clip_id"].to_pylist(), route[column].to_pylist(), strict=True))
    files = (f"out/answer/{who}/finetune.parquet" for who in (setting.teacher, setting.student))
    shared = None
    if setting.kl and config.distill.training.kl_support == "likeliest_tokens":
        from synesthesia.distillation.shared_vocabulary import find_shared_token_ids

        teacher = stage_cli.get_item(
            config.models, setting.teacher, "model"
        )  # tokens come from models that are loaded here
        shared = find_shared_token_ids(teacher.checkpoint, config.models[setting.student].checkpoint)
    return make_targets(asked, setting, closed, *(schemas.read(file, schemas.ANSWER) for file in files), shared)


def make_registered_model(
    config: Config, item: str, analysis_accuracy: float | None = None
) -> tracking.RegisteredModel:
    """The adapter as a version of the student's registered model; `score` is its accuracy on analysis."""
    setting = config.distill.settings[item]
    return tracking.RegisteredModel(
        f"{setting.student}-adapter",
        str(OUTPUT_DIR / item / "adapter"),
        analysis_accuracy,
        eligible=setting.labels != "ground_truth",
    )


def build_record(config: Config, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone."""
    setting, out = config.distill.settings[item], OUTPUT_DIR / item
    if not (out / "adapter" / "adapter_config.json").exists():
        return None
    with open(out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = rows[-max(1, len(rows) // 10) :]
    return tracking.Record(
        stage="distill",
        item=item,
        parameters=tracking.flatten(
            {"setting": setting, "lora": config.distill.lora, "training": config.distill.training}
        ),
        metrics={
            "steps": float(len(rows)),
            "final_loss": sum(float(r["loss"]) for r in last) / len(last),
        },
        history=out / "history.csv",
        artifacts=[out / "adapter"],
        inputs=["out/answer", "out/route/route.parquet", "out/ask/questions.parquet", "out/curate/clips.parquet"],
        model=make_registered_model(config, item),
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="setting", is_distributed=True)
