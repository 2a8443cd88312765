"""Metrics of a study for `dvc metrics diff` and for the thresholds of CI."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from synesthesia import schemas
from synesthesia.analysis import human_tables
from synesthesia.analysis.headline import Headline, select_switch_predictions
from synesthesia.analysis.results import Results
from synesthesia.analysis.tables import compute_switch_metrics

HEADLINES_ELSEWHERE = ("gain", "switch", "human_gap_correlation")  # these metrics have more detailed keys


def build_metrics(results: Results, headlines: list[Headline], report_tables: dict[str, pd.DataFrame]) -> dict:
    """Build all metrics.

    Args:
        results: The study's results.
        headlines: Result of `headline.compute_headlines`.
        report_tables: Results of `tables.build_tables` and `human_tables.build_human_tables`.

    Returns:
        Nested dict of floats; proportions are in [0, 1]. Undefined values are omitted, so nan is never compared.

    Raises:
        ValueError: A metric is nan or infinite.
    """
    metrics: dict = {"accuracy": {}, "gain": {}, "unparseable": {}}
    for respondent in results.respondents:
        answers = {s: a for s in schemas.SPLITS if len(a := results.get_answers(respondent.key, s))}
        metrics["accuracy"][respondent.key] = {s: float(a["correct"].mean()) for s, a in answers.items()}
        metrics["unparseable"][respondent.key] = sum(float(a["choice"].isna().sum()) for a in answers.values())
    metrics["unparseable"]["all"] = sum(metrics["unparseable"].values())
    for row in report_tables["before_after"].to_dict("records"):
        metrics["gain"].setdefault(row["setting"], {})[row["split"]] = float(row["difference"])
    for headline in headlines:
        if headline.interval and headline.key not in HEADLINES_ELSEWHERE:
            _set_nested(metrics, headline.key, headline.interval.estimate)
    predictions, part = select_switch_predictions(results)
    if predictions is not None:
        _set_switch_metrics(metrics, "switch", results, predictions)
    if results.switch_predictions is not None and part == "finetune":
        validation = results.switch_predictions[results.switch_predictions["part"] == "validation"]
        if len(validation):
            _set_switch_metrics(metrics, "switch.validation", results, validation)
    audio = results.config.measure_gap.audio
    default = results.find_default_setting(audio)
    pair = results.pair_answers("unseen", audio, default) if default else None
    if pair is not None:
        _set_nested(metrics, "unseen.before", float(pair[audio].mean()))
        _set_nested(metrics, "unseen.after", float(pair[default].mean()))
    metrics["humans"] = human_tables.build_human_metrics(report_tables)
    agreement = results.letter_agreement
    n_answers = float(agreement["n_answers"].sum())
    if n_answers:
        for name in ("different_letter", "no_letter"):
            _set_nested(metrics, f"letter_agreement.{name}", float(agreement[f"n_{name}"].sum()) / n_answers)
    return {key: value for key, value in _round_values(metrics).items() if value != {}}


def _set_switch_metrics(metrics: dict, key: str, results: Results, predictions: pd.DataFrame) -> None:
    for name, interval in compute_switch_metrics(results, predictions).items():
        if interval:
            _set_nested(metrics, f"{key}.{name}", interval.estimate)


def _set_nested(metrics: dict, key: str, value: float) -> None:
    *path, last = key.split(".")
    for part in path:
        metrics = metrics.setdefault(part, {})
    metrics[last] = value


def _round_values(value: Any) -> Any:
    """Round to six decimals: enough for a proportion, and equal on every machine."""
    if isinstance(value, dict):
        return {key: _round_values(v) for key, v in value.items()}
    if not math.isfinite(value):
        raise ValueError(f"a metric is not a finite number: {value}")
    return round(float(value), 6)
