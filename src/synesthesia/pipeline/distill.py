"""Distill one model into the other: one setting of Table 2, or of the opposite direction (paper section 4).

Examples:
  python -m synesthesia.pipeline.distill visual-to-audio
  dvc repro distill@visual-to-audio-kl
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from synesthesia import schemas, tracking
from synesthesia.config import Config, DistillSetting
from synesthesia.pipeline import stage_cli
from synesthesia.utils import distributed

if TYPE_CHECKING:
    from synesthesia.distillation.targets import Targets

OUTPUT_DIR = Path("out/distill")
STORE_DIR = Path("out/curate/store")


def run(config: Config, item: str) -> None:
    """Write out/distill/<setting>/adapter and history.csv; a killed run resumes from its last checkpoint.

    Args:
        config: The configuration.
        item: Key of the setting.
    """
    setting = stage_cli.get_item(config.distill.settings, item, "setting")
    model_config, training = config.models[setting.student], config.distill.training
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)
    with tracking.start_run("distill", item) as session:
        from synesthesia import models
        from synesthesia.distillation import adapters, trainer
        from synesthesia.utils import device

        targets = build_targets(config, setting)
        student = models.load_model(
            model_config, device.select_device(), config.acceleration, config.curate.frames_per_second
        )
        device.seed(training.seed)
        adapters.add_lora(student, config.distill.lora)
        checkpoint_dir = _make_checkpoint_dir(config, setting, targets)
        history = trainer.train(
            student,
            targets,
            clips,
            STORE_DIR,
            training,
            checkpoint_dir=checkpoint_dir,
            checkpoint_interval_seconds=60 * training.checkpoint_interval_minutes,
            title=f"distill {item}",
            log_metric=session.log_metric,
        )
        if not distributed.is_main():
            return
        output_dir = OUTPUT_DIR / item
        output_dir.mkdir(parents=True, exist_ok=True)
        _write_history(history, output_dir / "history.csv")
        adapters.save(student, output_dir / "adapter", model_config.checkpoint)
        shutil.rmtree(checkpoint_dir, ignore_errors=True)
        session.finish(stage_cli.require_record(build_record(config, item)))


def build_targets(config: Config, setting: DistillSetting) -> Targets:
    """Build the training targets of the finetune clips from questions, routes and answers.

    Args:
        config: The configuration.
        setting: The setting.

    Returns:
        One target per finetune clip that has one.
    """
    from synesthesia.distillation.targets import make_targets

    questions = schemas.read("out/make_questions/questions.parquet", schemas.QUESTION)
    route = schemas.read("out/route/route.parquet", schemas.ROUTE)
    column = "visual_teaches" if setting.teacher == config.measure_gap.visual else "audio_teaches"
    teacher_answers, student_answers = (
        schemas.read(f"out/evaluate/{name}/finetune.parquet", schemas.ANSWER)
        for name in (setting.teacher, setting.student)
    )
    shared_token_ids = None
    if setting.kl and config.distill.training.kl_support == "top_k":
        from synesthesia.distillation.shared_vocabulary import find_shared_token_ids

        # Token ids exist only for models that are loaded here, not for respondents from files.
        teacher = stage_cli.get_item(config.models, setting.teacher, "model")
        shared_token_ids = find_shared_token_ids(teacher.checkpoint, config.models[setting.student].checkpoint)
    return make_targets(
        schemas.select_split(questions, "finetune"),
        setting,
        dict(zip(route["clip_id"].to_pylist(), route[column].to_pylist(), strict=True)),
        teacher_answers,
        student_answers,
        shared_token_ids,
    )


def make_registered_model(
    config: Config, item: str, analysis_accuracy: float | None = None
) -> tracking.RegisteredModel:
    """Make the model version that MLflow registers for an adapter.

    Args:
        config: The configuration.
        item: Key of the setting.
        analysis_accuracy: Accuracy on the analysis split in [0, 1], which selects the best version; None if unknown.

    Returns:
        The model. Adapters trained on ground truth are not eligible as best.
    """
    setting = config.distill.settings[item]
    return tracking.RegisteredModel(
        f"{setting.student}-adapter",
        str(OUTPUT_DIR / item / "adapter"),
        analysis_accuracy,
        eligible=setting.labels != "ground_truth",
    )


def build_record(config: Config, item: str) -> tracking.Record | None:
    """Build the MLflow record of a setting from its outputs.

    Args:
        config: The configuration.
        item: Key of the setting.

    Returns:
        The record, or None if outputs are missing. `final_loss` is the mean over the last tenth of the steps.
    """
    setting, output_dir = config.distill.settings[item], OUTPUT_DIR / item
    if not (output_dir / "adapter" / "adapter_config.json").exists():
        return None
    with open(output_dir / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    final_rows = rows[-max(1, len(rows) // 10) :]
    return tracking.Record(
        stage="distill",
        item=item,
        parameters=tracking.flatten(
            {"setting": setting, "lora": config.distill.lora, "training": config.distill.training}
        ),
        metrics={
            "steps": float(len(rows)),
            "final_loss": sum(float(row["loss"]) for row in final_rows) / len(final_rows),
        },
        history=output_dir / "history.csv",
        artifacts=[output_dir / "adapter"],
        inputs=[
            "out/evaluate",
            "out/route/route.parquet",
            "out/make_questions/questions.parquet",
            "out/curate/clips.parquet",
        ],
        model=make_registered_model(config, item),
    )


def _make_checkpoint_dir(config: Config, setting: DistillSetting, targets: Targets) -> Path:
    """Name the checkpoint folder by everything that the result depends on; the checkpoint interval does not count."""
    from synesthesia.evaluation.resume import CACHE_DIR, fingerprint

    model_config = config.models[setting.student]
    training = config.distill.training.model_copy(update={"checkpoint_interval_minutes": 1.0})
    blocks = setting, config.distill.lora, training, model_config, config.acceleration
    name = fingerprint(
        [block.model_dump() for block in blocks],
        [targets.questions.to_pylist(), targets.labels.tolist(), targets.kl_mask.tolist()],
        [targets.teacher_logits.tolist(), None if targets.token_ids is None else targets.token_ids.tolist()],
        config.curate.frames_per_second,
        Path(model_config.checkpoint),
        STORE_DIR / "shards.json",
    )
    return CACHE_DIR / "distill" / name


def _write_history(history: list[dict[str, float]], path: Path) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: v if k == "step" else f"{v:.6g}" for k, v in row.items()} for row in history)


if __name__ == "__main__":
    stage_cli.main(run, __doc__, item_kind="setting", is_distributed=True)
