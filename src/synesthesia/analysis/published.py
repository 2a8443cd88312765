"""The paper's own results, for comparison; looked up by model family and kind of setting, not by name."""

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
    """Load the numbers of the paper's text.

    Returns:
        Value by name: percentages and points as printed in the paper, counts as counts.
    """
    return {row["fact"]: float(row["value"]) for row in _read_rows("facts.csv")}


def get_model_accuracies(family: str) -> dict[str, float]:
    """Look up the accuracies of an original model (Table 1).

    Args:
        family: Model family, as in `models.*.family`.

    Returns:
        Accuracy in [0, 1] by split (analysis, test); empty where the paper has none.
    """
    for row in _read_rows("table1.csv"):
        if row["family"] == family and not row["teacher_family"]:
            return _parse_accuracies(row)
    return {}


def get_figure1_accuracy(family: str, condition: str) -> float | None:
    """Look up an accuracy over the 30 labels of Figure 1.

    Args:
        family: Model family, or "human".
        condition: Condition, as in schemas.CONDITIONS.

    Returns:
        Accuracy in [0, 1], or None where the paper has none.
    """
    for row in _read_rows("figure1.csv"):
        if (row["family"], row["condition"]) == (family, condition):
            return round(float(row["accuracy"]) / 100, 6)
    return None


def get_setting_accuracies(setting: DistillSetting, config: Config) -> dict[str, float]:
    """Look up the accuracies of a distilled student (Tables 1 and 2).

    Args:
        setting: Distillation setting.
        config: Configuration that names the families of its student and teacher.

    Returns:
        Accuracy in [0, 1] by split (analysis, test); empty where the paper has no such setting.
    """
    criteria = {
        "student_family": config.models[setting.student].family,
        "teacher_family": getattr(config.get_respondent(setting.teacher), "family", ""),
        "labels": setting.labels,
        "kl": str(setting.kl).lower(),
    }
    if setting.labels != "ground_truth":  # the anti-forgetting loss applies to teacher labels alone
        criteria["anti_forgetting"] = str(setting.anti_forgetting).lower()
    for row in _read_rows("table2.csv"):
        if all(row[key] == value for key, value in criteria.items()):
            return _parse_accuracies(row)
    return {}


def _parse_accuracies(row: dict) -> dict[str, float]:
    return {split: round(float(row[f"{split}_accuracy"]) / 100, 6) for split in ("analysis", "test")}
