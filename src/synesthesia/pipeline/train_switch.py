"""Train the switch on the audio of the analysis clips, then predict for every finetune clip (paper section 4.2).

The target of a clip is that of its label: is the visual model better on the analysis clips of this label?

Examples:
  python -m synesthesia.pipeline.train_switch
  dvc repro train_switch
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.distillation import switch_data
from synesthesia.pipeline import stage_cli
from synesthesia.utils import io

OUTPUT_DIR = Path("out/train_switch")
STORE_DIR = Path("out/curate/store")


def run(config: Config) -> None:
    """Write the trained network, its history, one prediction per clip, and metrics.

    Args:
        config: The configuration.
    """
    switch_config = config.train_switch
    with tracking.start_run("train_switch") as session:
        from synesthesia.distillation import switch, switch_training
        from synesthesia.utils import device

        device.seed(switch_config.seed)
        device_name = device.select_device()
        rows = load_clips_with_targets(config)
        network = switch.Switch.from_pretrained(switch_config.checkpoint).to(device_name)
        train, validation = (
            switch_data.load_training_tensors(network, [r for r in rows if r["part"] == part], STORE_DIR, device_name)
            for part in switch_data.TRAIN_PARTS
        )
        history = []
        epochs = switch_training.train(
            network,
            *train,
            validation,
            epochs=switch_config.epochs,
            batch_size=switch_config.batch_size,
            learning_rate=switch_config.learning_rate,
            warmup_ratio=switch_config.warmup_ratio,
            class_weighted=switch_config.class_weighted,
            seed=switch_config.seed,
        )
        for epoch_metrics in tqdm(epochs, total=switch_config.epochs, desc="train switch", unit="epoch"):
            history.append(epoch_metrics)
            for name, value in epoch_metrics.items():
                if name != "epoch":
                    session.log_metric(name, value, int(epoch_metrics["epoch"]))
        probabilities = switch_data.predict_probabilities(network, rows, STORE_DIR, device_name)
        network.save(OUTPUT_DIR / "model")
        write_outputs(rows, probabilities, history, config)
        session.finish(stage_cli.require_record(build_record(config, None)))


def load_clips_with_targets(config: Config) -> list[dict]:
    """Read clips and label gap, and assign targets and parts.

    Args:
        config: The configuration.

    Returns:
        Clips with targets, see `switch_data.assign_targets`.
    """
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()
    gap = schemas.read("out/measure_gap/gap.parquet", schemas.GAP)
    return switch_data.assign_targets(
        clips,
        dict(zip(gap["label"].to_pylist(), gap["visual_better"].to_pylist(), strict=True)),
        validation_clips_per_label=config.train_switch.validation_clips_per_label,
        seed=config.train_switch.seed,
    )


def write_outputs(rows: list[dict], probabilities: np.ndarray, history: list[dict], config: Config) -> None:
    """Write predictions, history and metrics of the trained switch.

    Args:
        rows: Clips, as `load_clips_with_targets` returns them.
        probabilities: float32 (rows,), probability that the visual model is better.
        history: One dict per epoch.
        config: The configuration.
    """
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    table = switch_data.make_prediction_table(rows, probabilities)
    with io.atomic_path(OUTPUT_DIR / "predictions.parquet") as tmp_path:
        pq.write_table(table, tmp_path, compression="zstd")
    with open(OUTPUT_DIR / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: v if k == "epoch" else f"{v:.6g}" for k, v in row.items()} for row in history)
    metrics = switch_data.summarize_predictions(rows, probabilities, config.route.threshold)
    io.write_atomic(OUTPUT_DIR / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True) + "\n")


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "model" / "config.json").exists():
        return None
    metrics = json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8"))
    return tracking.Record(
        stage="train_switch",
        parameters=tracking.flatten(config.train_switch),
        metrics=metrics,
        history=OUTPUT_DIR / "history.csv",
        artifacts=[OUTPUT_DIR / "model"],
        inputs=["out/measure_gap/gap.parquet", "out/curate/clips.parquet"],
        model=tracking.RegisteredModel(
            "switch", str(OUTPUT_DIR / "model"), metrics.get("validation_balanced_accuracy")
        ),
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
