"""Train the switch on the analysis clips' sound, then let it judge every finetune clip (paper section 4.2).

A clip's target is its label's: does the visual model do better on this label's analysis clips?

Examples:
  python -m synesthesia.pipeline.train_switch
  dvc repro switch
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.pipeline import stage_cli

if TYPE_CHECKING:
    import torch

OUTPUT_DIR = Path("out/switch")
STORE_DIR = Path("out/curate/store")


def run(config: Config) -> None:
    """Write the trained network, its history, a prediction a clip, and metrics."""
    block = config.train_switch
    with tracking.start_run("switch") as session:
        from synesthesia.distillation import switch
        from synesthesia.utils import device

        device.seed(block.seed)
        place = device.select_device()
        rows = load_clips_with_targets(config)
        network = switch.Switch.from_pretrained(block.checkpoint).to(place)
        train, held = (
            load_training_tensors(network, [r for r in rows if r["part"] == part], place) for part in TRAIN_PARTS
        )
        history = []
        epochs = switch.train(
            network,
            *train,
            held,
            epochs=block.epochs,
            batch_size=block.batch_size,
            learning_rate=block.learning_rate,
            warmup_ratio=block.warmup_ratio,
            class_weighted=block.class_weighted,
            seed=block.seed,
        )
        for row in tqdm(epochs, total=block.epochs, desc="switch", unit="epoch"):
            history.append(row)
            for name, value in row.items():
                if name != "epoch":
                    session.log_metric(name, value, row["epoch"])
        probability = predict(network, rows, place)
        network.save(OUTPUT_DIR / "model")
        write_outputs(rows, probability, history, config)
        session.finish(build_record(config, None))


class SwitchStageError(ValueError):
    """The switch has nothing to learn from; the message says what to look at."""


TRAIN_PARTS = ("train", "validation")  # the other rows are `finetune`, ten times as many: never held in memory


def load_clips_with_targets(config: Config) -> list[dict]:
    """Analysis clips split into train and validation, by label and hashed id, and all finetune clips."""
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()
    gap = schemas.read("out/gap/gap.parquet", schemas.GAP)
    better = dict(zip(gap["label"].to_pylist(), gap["visual_better"].to_pylist(), strict=True))
    by_label: dict[str, list[dict]] = {}
    rows = []
    for clip in clips:
        if clip["dataset"] != "vggsound" or clip["split"] not in ("analysis", "finetune"):
            continue
        label = clip["labels"][0]
        if label not in better:  # no analysis clip of this label survived: nobody knows which sense is better
            continue
        row = {**clip, "label": label, "target": better[label], "part": "finetune"}
        rows.append(row)
        if clip["split"] == "analysis":
            by_label.setdefault(label, []).append(row)
    for same in by_label.values():
        same.sort(key=lambda r: hashlib.sha256(f"{config.train_switch.seed}/{r['clip_id']}".encode()).digest())
        held = min(config.train_switch.validation_clips_per_label, len(same) - 1)
        for index, row in enumerate(same):
            row["part"] = "validation" if index < held else "train"
    return rows


def iter_log_mel_batches(network, rows: list[dict], device: str, title: str) -> Iterator[torch.Tensor]:
    """Log-mel frames float32 (up to 64, 1, frames, mel) of the rows' clips, batch by batch, on the device."""
    import torch

    from synesthesia.data.store import Store

    store = Store(STORE_DIR)
    for start in tqdm(range(0, len(rows), 64), desc=title, unit="batch"):
        batch = np.stack([store.audio(r["shard"], r["row"]) for r in rows[start : start + 64]])
        yield network.hear(torch.from_numpy(batch).to(device))


def load_training_tensors(network, rows: list[dict], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel frames and targets float32 (clips,) of these rows, held on the device: 3.7 GB at the paper's size."""
    import torch

    if not rows:
        raise SwitchStageError(
            "too few analysis clips to learn from and to validate with: no label has two; look at "
            "curate.analysis_clips_a_label and out/curate/damaged.parquet"
        )
    frames = list(iter_log_mel_batches(network, rows, device, f"switch hears {rows[0]['part']}"))
    return torch.cat(frames), torch.tensor([r["target"] for r in rows], dtype=torch.float32, device=device)


def predict(network, rows: list[dict], device: str) -> np.ndarray:
    """The trained network's probability of "the visual model is better" for each row, float32 (rows,)."""
    import torch

    from synesthesia.distillation import switch

    logits = [
        switch.predict(network, frames) for frames in iter_log_mel_batches(network, rows, device, "switch judges")
    ]
    return torch.sigmoid(torch.cat(logits)).cpu().numpy().astype(np.float32)


def write_outputs(rows: list[dict], probabilities: np.ndarray, history: list[dict], config: Config) -> None:
    """Predictions, history and metrics of the trained switch."""
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    columns = {name: [r[name] for r in rows] for name in ("clip_id", "split", "label", "part")}
    table = pa.table({**columns, "visual_better_probability": probabilities, "target": [r["target"] for r in rows]})
    pq.write_table(table, OUTPUT_DIR / "predictions.parquet", compression="zstd")
    with open(OUTPUT_DIR / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: v if k == "epoch" else f"{v:.6g}" for k, v in row.items()} for row in history)
    said = probabilities > config.route.threshold
    target = np.array([r["target"] for r in rows])
    part = np.array([r["part"] for r in rows])
    metrics = {
        f"{name}_{key}": value
        for name in ("validation", "finetune")
        for key, value in compute_scores(said[part == name], target[part == name]).items()
    }
    (OUTPUT_DIR / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")


def compute_scores(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall of both answers), what always answering 1 gets, closed share."""
    if not len(targets):
        return {}
    recalls = [float((predicted[targets == c] == c).mean()) for c in (False, True) if (targets == c).any()]
    return {
        "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "always_one_accuracy": float(targets.mean()),
        "closed_share": float(predicted.mean()),
    }


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "model" / "config.json").exists():
        return None
    metrics = json.loads((OUTPUT_DIR / "metrics.json").read_text())
    return tracking.Record(
        stage="switch",
        parameters=tracking.flatten(config.train_switch),
        metrics=metrics,
        history=OUTPUT_DIR / "history.csv",
        artifacts=[OUTPUT_DIR / "model"],
        inputs=["out/gap/gap.parquet", "out/curate/clips.parquet"],
        model=tracking.RegisteredModel(
            "switch", str(OUTPUT_DIR / "model"), metrics.get("validation_balanced_accuracy")
        ),
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
