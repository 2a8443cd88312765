"""The numbers that `dvc metrics diff` compares and `bounds` guards: a nested dict of floats, without what is absent."""

from __future__ import annotations

import math

import pandas as pd

from synesthesia import schemas
from synesthesia.analysis import human_tables
from synesthesia.analysis.headline import Headline, switch_part
from synesthesia.analysis.results import Study
from synesthesia.analysis.tables import switch_figures


def build(study: Study, found: list[Headline], made: dict[str, pd.DataFrame]) -> dict:
    """All metrics; a figure that cannot be had is left out, so no nan is ever compared. Shares are in [0, 1].

    `made`: the tables of `tabulate.everything` and, where somebody has judged, of `humans.everything`.
    """
    metrics: dict = {"accuracy": {}, "gain": {}, "unparseable": {}}
    for person in study.respondents:
        mine = {s: answers for s in schemas.SPLITS if len(answers := study.of(person.key, s))}
        metrics["accuracy"][person.key] = {s: float(answers["correct"].mean()) for s, answers in mine.items()}
        metrics["unparseable"][person.key] = sum(float(a["choice"].isna().sum()) for a in mine.values())
    metrics["unparseable"]["all"] = sum(metrics["unparseable"].values())
    for row in made["before_after"].to_dict("records"):
        metrics["gain"].setdefault(row["setting"], {})[row["split"]] = float(row["difference"])
    for headline in found:
        if headline.interval and headline.key not in ("gain", "switch", "human_gap_correlation"):
            _put(metrics, headline.key, headline.interval.estimate)
    frame, part = switch_part(study)
    if frame is not None:
        for name, interval in switch_figures(study, frame).items():
            if interval:
                _put(metrics, f"switch.{name}", interval.estimate)
        validation = study.switch[study.switch["part"] == "validation"]
        if part == "finetune" and len(validation):
            for name, interval in switch_figures(study, validation).items():
                if interval:
                    _put(metrics, f"switch.validation.{name}", interval.estimate)
    audio = study.params.gap.audio
    pair = study.pair("unseen", audio, default) if (default := study.default(audio)) else None
    if pair is not None:
        _put(metrics, "unseen.before", float(pair[audio].mean()))
        _put(metrics, "unseen.after", float(pair[default].mean()))
    metrics["humans"] = human_tables.metrics(made)
    both = study.letters[study.letters["answers"] > 0]
    if len(both):
        total = float(both["answers"].sum())
        _put(metrics, "letters_against_text.disagreement", float(both["another_letter"].sum()) / total)
        _put(metrics, "letters_against_text.no_letter", float(both["no_letter"].sum()) / total)
    return {key: value for key, value in _rounded(metrics).items() if value != {}}


def _put(metrics: dict, key: str, value: float) -> None:
    *path, last = key.split(".")
    for part in path:
        metrics = metrics.setdefault(part, {})
    metrics[last] = value


def _rounded(value):
    """Six decimals: enough for a share, and the same on every machine."""
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if not math.isfinite(value):
        raise ValueError("a metric is not a number")
    return round(float(value), 6)
