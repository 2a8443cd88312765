"""The numbers that `dvc metrics diff` compares and `bounds` guards: a nested dict of floats, without what is absent."""

from __future__ import annotations

import math

import pandas as pd

from synesthesia import schemas
from synesthesia.analysis import human_tables
from synesthesia.analysis.headline import Headline, select_switch_predictions
from synesthesia.analysis.results import Results
from synesthesia.analysis.tables import compute_switch_metrics


def build_metrics(results: Results, headlines: list[Headline], report_tables: dict[str, pd.DataFrame]) -> dict:
    """All metrics; a figure that cannot be had is left out, so no nan is ever compared. Shares are in [0, 1].

    `made`: the tables of `tabulate.everything` and, where somebody has judged, of `humans.everything`.
    """
    metrics: dict = {"accuracy": {}, "gain": {}, "unparseable": {}}
    for person in results.respondents:
        mine = {s: answers for s in schemas.SPLITS if len(answers := results.get_answers(person.key, s))}
        metrics["accuracy"][person.key] = {s: float(answers["correct"].mean()) for s, answers in mine.items()}
        metrics["unparseable"][person.key] = sum(float(a["choice"].isna().sum()) for a in mine.values())
    metrics["unparseable"]["all"] = sum(metrics["unparseable"].values())
    for row in report_tables["before_after"].to_dict("records"):
        metrics["gain"].setdefault(row["setting"], {})[row["split"]] = float(row["difference"])
    for headline in headlines:
        if headline.interval and headline.key not in ("gain", "switch", "human_gap_correlation"):
            _set_nested(metrics, headline.key, headline.interval.estimate)
    frame, part = select_switch_predictions(results)
    if frame is not None:
        for name, interval in compute_switch_metrics(results, frame).items():
            if interval:
                _set_nested(metrics, f"switch.{name}", interval.estimate)
        validation = results.switch_predictions[results.switch_predictions["part"] == "validation"]
        if part == "finetune" and len(validation):
            for name, interval in compute_switch_metrics(results, validation).items():
                if interval:
                    _set_nested(metrics, f"switch.validation.{name}", interval.estimate)
    audio = results.config.measure_gap.audio
    pair = results.pair_answers("unseen", audio, default) if (default := results.find_default_setting(audio)) else None
    if pair is not None:
        _set_nested(metrics, "unseen.before", float(pair[audio].mean()))
        _set_nested(metrics, "unseen.after", float(pair[default].mean()))
    metrics["humans"] = human_tables.build_human_metrics(report_tables)
    both = results.letter_agreement[results.letter_agreement["answers"] > 0]
    if len(both):
        total = float(both["answers"].sum())
        _set_nested(metrics, "letters_against_text.disagreement", float(both["another_letter"].sum()) / total)
        _set_nested(metrics, "letters_against_text.no_letter", float(both["no_letter"].sum()) / total)
    return {key: value for key, value in _round_values(metrics).items() if value != {}}


def _set_nested(metrics: dict, key: str, value: float) -> None:
    *path, last = key.split(".")
    for part in path:
        metrics = metrics.setdefault(part, {})
    metrics[last] = value


def _round_values(value):
    """Six decimals: enough for a share, and the same on every machine."""
    if isinstance(value, dict):
        return {key: _round_values(v) for key, v in value.items()}
    if not math.isfinite(value):
        raise ValueError("a metric is not a number")
    return round(float(value), 6)
