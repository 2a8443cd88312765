"""The paper's own figures, to stand beside ours: found by a model's family and a setting's kind, never by name."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from synesthesia.config import Config, DistillSetting

DATA_DIR = Path(__file__).parent / "paper"


@cache
def _read_rows(name: str) -> tuple[dict, ...]:
    with (DATA_DIR / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def load_facts() -> dict[str, float]:
    """Figures of the paper's text: percentages and points as printed there, counts as counts."""
    return {row["fact"]: float(row["value"]) for row in _read_rows("facts.csv")}


def get_model_accuracies(family: str) -> dict[str, float]:
    """The paper's analysis and test accuracy [0, 1] of an original model (Table 1); empty where it has none."""
    for row in _read_rows("table1.csv"):
        if row["family"] == family and not row["teacher_family"]:
            return _parse_accuracies(row)
    return {}


def get_figure1_accuracy(family: str, condition: str) -> float | None:
    """The paper's accuracy [0, 1] over the 30 labels of Figure 1; family "human" for people; None where it has none."""
    for row in _read_rows("figure1.csv"):
        if (row["family"], row["condition"]) == (family, condition):
            return round(float(row["accuracy"]) / 100, 6)
    return None


def get_setting_accuracies(setting: DistillSetting, config: Config) -> dict[str, float]:
    """The paper's accuracies of a distilled student (Tables 1 and 2); empty where it did not try this."""
    wanted = {
        "student_family": config.models[setting.student].family,
        "teacher_family": getattr(config.get_respondent(setting.teacher), "family", ""),
        "labels": setting.labels,
        "kl": str(setting.kl).lower(),
    }
    if setting.labels != "ground_truth":  # without a teacher's labels there is nothing to forget
        wanted["anti_forgetting"] = str(setting.anti_forgetting).lower()
    for row in _read_rows("table2.csv"):
        if all(row[key] == value for key, value in wanted.items()):
            return _parse_accuracies(row)
    return {}


def _parse_accuracies(row: dict) -> dict[str, float]:
    return {split: round(float(row[f"{split}_accuracy"]) / 100, 6) for split in ("analysis", "test")}
