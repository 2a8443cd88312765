"""Clips of the switch: their targets, their log-mel frames, and scores of its predictions (paper section 4.2).

The target of a clip is its label's: is the visual model better on the analysis clips of this label? Selecting clips
and scoring predictions need no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tqdm import tqdm

if TYPE_CHECKING:
    import torch

    from synesthesia.distillation.switch import Switch

TRAIN_PARTS = ("train", "validation")  # the part `finetune` is ten times as large; it never is in memory at once
CLIPS_PER_BATCH = 64


class SwitchDataError(ValueError):
    """There are no clips to train the switch with; the message says what to check."""


def assign_targets(
    clips: list[dict], visual_better: dict[str, bool], *, validation_clips_per_label: int, seed: int
) -> list[dict]:
    """Give each VGGSound clip of the splits analysis and finetune its target and its part.

    Per label, the analysis clips with the smallest hashes of seed and clip_id are for validation, so a clip changes
    its part only if it replaces one that is gone. At least one clip per label remains for training.

    Args:
        clips: Rows of schemas.CLIP.
        visual_better: label -> whether the visual model is better. Labels without analysis clips are missing; their
            clips are dropped.
        validation_clips_per_label: Number of analysis clips per label for validation, where there are enough.
        seed: Seed of the hash.

    Returns:
        The clips in their order with `label`, `target` (bool) and `part` (train, validation or finetune).
    """
    rows = []
    analysis_rows: dict[str, list[dict]] = {}
    for clip in clips:
        if clip["dataset"] != "vggsound" or clip["split"] not in ("analysis", "finetune"):
            continue
        label = clip["labels"][0]
        if label not in visual_better:
            continue
        row = {**clip, "label": label, "target": visual_better[label], "part": "finetune"}
        rows.append(row)
        if clip["split"] == "analysis":
            analysis_rows.setdefault(label, []).append(row)
    for label_rows in analysis_rows.values():
        label_rows.sort(key=lambda row: hashlib.sha256(f"{seed}/{row['clip_id']}".encode()).digest())
        num_validation = min(validation_clips_per_label, len(label_rows) - 1)
        for index, row in enumerate(label_rows):
            row["part"] = "validation" if index < num_validation else "train"
    return rows


def iter_log_mel_batches(
    switch: Switch, rows: list[dict], store_dir: Path, device: str, title: str
) -> Iterator[torch.Tensor]:
    """Compute the log-mel frames of clips.

    Args:
        switch: The switch, on `device`.
        rows: Clips with `shard` and `row`.
        store_dir: Folder of the clip store.
        device: `cpu`, `cuda` or `cuda:<index>`.
        title: Title of the progress bar.

    Yields:
        float32 (up to CLIPS_PER_BATCH, 1, frames, mel) on the device, in the order of the rows.
    """
    import torch

    from synesthesia.data.store import Store

    store = Store(store_dir)
    for start in tqdm(range(0, len(rows), CLIPS_PER_BATCH), desc=title, unit="batch"):
        audio = np.stack([store.audio(r["shard"], r["row"]) for r in rows[start : start + CLIPS_PER_BATCH]])
        yield switch.compute_log_mel(torch.from_numpy(audio).to(device))


def load_training_tensors(
    switch: Switch, rows: list[dict], store_dir: Path, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load frames and targets of one part onto the device: 3.7 GB at the paper's size.

    Args:
        switch: The switch, on `device`.
        rows: Clips of one part, as `assign_targets` returns them.
        store_dir: Folder of the clip store.
        device: `cpu`, `cuda` or `cuda:<index>`.

    Returns:
        Log-mel frames float32 (clips, 1, frames, mel) and targets float32 (clips,).

    Raises:
        SwitchDataError: There are no rows.
    """
    import torch

    if not rows:
        raise SwitchDataError(
            "too few analysis clips for training and validation: no label has two; look at "
            "curate.analysis_clips_per_label and out/curate/rejected.parquet"
        )
    batches = list(iter_log_mel_batches(switch, rows, store_dir, device, f"switch: frames of {rows[0]['part']}"))
    return torch.cat(batches), torch.tensor([r["target"] for r in rows], dtype=torch.float32, device=device)


def predict_probabilities(switch: Switch, rows: list[dict], store_dir: Path, device: str) -> np.ndarray:
    """Predict the probability that the visual model is better, per clip.

    Args:
        switch: The trained switch, on `device`.
        rows: Clips with `shard` and `row`.
        store_dir: Folder of the clip store.
        device: `cpu`, `cuda` or `cuda:<index>`.

    Returns:
        float32 (rows,) in [0, 1].
    """
    import torch

    from synesthesia.distillation.switch_training import predict_logits

    logits = [
        predict_logits(switch, log_mel)
        for log_mel in iter_log_mel_batches(switch, rows, store_dir, device, "switch: predictions")
    ]
    return torch.sigmoid(torch.cat(logits)).cpu().numpy().astype(np.float32)


def make_prediction_table(rows: list[dict], probabilities: np.ndarray) -> pa.Table:
    """Make the table of predictions.

    Args:
        rows: Clips, as `assign_targets` returns them.
        probabilities: float32 (rows,).

    Returns:
        Columns clip_id, split, label, part, visual_better_probability (float32) and target (bool).
    """
    columns = {name: [row[name] for row in rows] for name in ("clip_id", "split", "label", "part")}
    return pa.table({**columns, "visual_better_probability": probabilities, "target": [r["target"] for r in rows]})


def summarize_predictions(rows: list[dict], probabilities: np.ndarray, threshold: float) -> dict[str, float]:
    """Score the predictions on the parts that the switch was not trained on.

    Args:
        rows: Clips, as `assign_targets` returns them.
        probabilities: float32 (rows,).
        threshold: The switch is closed above this probability.

    Returns:
        `compute_scores` of the parts validation and finetune, each key preceded by its part.
    """
    is_closed = probabilities > threshold
    targets = np.array([row["target"] for row in rows])
    parts = np.array([row["part"] for row in rows])
    return {
        f"{part}_{name}": score
        for part in ("validation", "finetune")
        for name, score in compute_scores(is_closed[parts == part], targets[parts == part]).items()
    }


def compute_scores(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Score binary predictions.

    Args:
        predicted: bool (clips,), whether the switch is closed.
        targets: bool (clips,).

    Returns:
        Accuracy, balanced accuracy (mean recall over the classes that occur), accuracy of always predicting "visual",
        and the fraction of clips that the teacher labels; empty without clips.
    """
    if not len(targets):
        return {}
    recalls = [float((predicted[targets == c] == c).mean()) for c in (False, True) if (targets == c).any()]
    return {
        "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "always_visual_accuracy": float(targets.mean()),
        "teacher_fraction": float(predicted.mean()),
    }
