"""Distil one model into the other: one setting of Table 2, or of the other direction (paper section 4).

examples:
  python -m synesthesia.pipeline.distill visual-to-audio
  dvc repro distill@visual-to-audio-kl
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pyarrow.compute as pc

from synesthesia import schemas, tracking
from synesthesia.config import Params, Setting
from synesthesia.pipeline import stage_cli
from synesthesia.utils import distributed

OUT = Path("out/distill")
STORE = Path("out/curate/store")


def run(params: Params, item: str) -> None:
    """Write out/distill/<setting>/adapter and history.csv; a killed run goes on from its last checkpoint."""
    setting = stage_cli.choose(params.distill.settings, item, "setting")
    model, out = params.models[setting.student], OUT / item
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    with tracking.session("distill", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters, trainer
        from synesthesia.evaluation.resume import PARTIAL, fingerprint
        from synesthesia.utils import device

        lessons = lessons_of(params, setting)
        student = models.load(model, device.pick())
        device.seed(params.distill.training.seed)
        adapters.attach(student, params.distill.lora)
        training = params.distill.training
        decides = setting, params.distill.lora, training.model_copy(update={"checkpoint_minutes": 1.0}), model
        partial = (
            PARTIAL
            / "distill"
            / fingerprint(
                [block.model_dump() for block in decides],
                [lessons.questions.to_pylist(), lessons.letters.tolist(), lessons.soft.tolist()],
                [lessons.teacher_logits.tolist(), None if lessons.tokens is None else lessons.tokens.tolist()],
                Path(model.checkpoint),
                STORE / "shards.json",
            )
        )
        history = trainer.train(
            student,
            lessons,
            clips,
            STORE,
            training,
            partial=partial,
            checkpoint_seconds=60 * training.checkpoint_minutes,
            title=f"distil {item}",
            tell=session.metric,
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
        session.finish(record(params, item))


def lessons_of(params: Params, setting: Setting):
    """What each finetune clip teaches in this setting (distillation.targets.Targets)."""
    from synesthesia.distillation.targets import targets

    questions = schemas.read("out/ask/questions.parquet", schemas.QUESTION)
    asked = questions.filter(pc.equal(questions["split"], "finetune"))
    route = schemas.read("out/route/route.parquet", schemas.ROUTE)
    column = "visual_teaches" if setting.teacher == params.gap.visual else "audio_teaches"
    closed = dict(zip(route["clip_id"].to_pylist(), route[column].to_pylist(), strict=True))
    files = (f"out/answer/{who}/finetune.parquet" for who in (setting.teacher, setting.student))
    shared = None
    if setting.kl and params.distill.training.kl_over == "likeliest_tokens":
        from synesthesia.distillation.shared_vocabulary import shared_tokens

        teacher = stage_cli.choose(
            params.models, setting.teacher, "model"
        )  # tokens come from models that are loaded here
        shared = shared_tokens(teacher.checkpoint, params.models[setting.student].checkpoint)
    return targets(asked, setting, closed, *(schemas.read(file, schemas.ANSWER) for file in files), shared)


def adapter_model(params: Params, item: str, score: float | None = None) -> tracking.RegisteredModel:
    """The adapter as a version of the student's registered model; `score` is its accuracy on analysis."""
    setting = params.distill.settings[item]
    return tracking.RegisteredModel(
        f"{setting.student}-adapter", str(OUT / item / "adapter"), score, eligible=setting.labels != "ground_truth"
    )


def record(params: Params, item: str) -> tracking.Record | None:
    """What this stage item tells MLflow, from its outs alone."""
    setting, out = params.distill.settings[item], OUT / item
    if not (out / "adapter" / "adapter_config.json").exists():
        return None
    with open(out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    last = rows[-max(1, len(rows) // 10) :]
    return tracking.Record(
        stage="distill",
        item=item,
        parameters=tracking.flatten(
            {"setting": setting, "lora": params.distill.lora, "training": params.distill.training}
        ),
        metrics={
            "steps": float(len(rows)),
            "final_loss": sum(float(r["loss"]) for r in last) / len(last),
        },
        history=out / "history.csv",
        artifacts=[out / "adapter"],
        inputs=["out/answer", "out/route/route.parquet", "out/ask/questions.parquet", "out/curate/clips.parquet"],
        model=adapter_model(params, item),
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item="setting", several=True)
