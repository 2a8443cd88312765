"""Clip tables for drawing questions, and VGGSound's published label frequencies."""

import csv
from pathlib import Path

import pyarrow as pa

from synesthesia import schemas

LABELS = [f"label {n}" for n in range(14)]
STATISTICS_FILE = Path(__file__).parents[1] / "data/vggsound_stat.csv"


def real_frequencies() -> dict[str, int]:
    """Return the number of clips per label in VGGSound's published statistics."""
    with open(STATISTICS_FILE, newline="") as file:
        return {label: int(count) for label, count, _ in csv.reader(file) if "," not in label}


def clips(labels: list[list[str]], dataset: str = "vggsound", split: str = "finetune") -> pa.Table:
    """Build a CLIP table with one clip per list of labels."""
    numbers = range(len(labels))
    columns = {
        "clip_id": [f"v{n}_000010" for n in numbers],
        "video_id": [f"v{n}" for n in numbers],
        "dataset": [dataset] * len(labels),
        "labels": pa.array(labels, pa.list_(pa.string())),
        "split": [split] * len(labels),
        "shard": [0] * len(labels),
        "row": [*numbers],
    }
    return schemas.check(pa.table(columns), schemas.CLIP, "clips")
