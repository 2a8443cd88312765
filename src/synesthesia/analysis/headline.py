"""The few figures that say what the study found, each with its interval, and the sentence where one cannot be had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synesthesia import stats
from synesthesia.analysis import human_tables
from synesthesia.analysis import published as paper
from synesthesia.analysis.results import Results
from synesthesia.analysis.tables import bootstrap_options, compute_switch_metrics
from synesthesia.stats import Interval


@dataclass(frozen=True)
class Headline:
    """One figure: `key` in metrics.json, an interval in [-1, 1] (shares and points) or `why_not`, and its meaning."""

    key: str
    title: str
    description: str
    kind: str  # percent, points, or correlation
    interval: Interval | None = None
    missing_reason: str = ""
    paper_value: float | None = None  # per cent or points, as printed in the paper


def _compute_gain_ratio(
    results: Results, split: str, respondents: tuple[str | None, ...], undefined_reason: str
) -> tuple[Interval | None, str]:
    if None in respondents:
        return None, "the parameters have no such setting"
    pair = results.pair_answers(split, *respondents)
    if pair is None:
        return None, "answers are missing"
    stacked = np.column_stack([pair[c].to_numpy() for c in respondents])
    interval = stats.gain_ratio(stacked, pair["video_id"].to_numpy(), **bootstrap_options(results))
    return interval, "" if interval else undefined_reason


def _compute_difference(
    results: Results, split: str, before: str | None, after: str | None
) -> tuple[Interval | None, str]:
    if before is None or after is None:
        return None, "the parameters have no such setting"
    pair = results.pair_answers(split, before, after)
    if pair is None:
        return None, "answers are missing"
    columns = pair[before].to_numpy(), pair[after].to_numpy()
    return stats.accuracy_difference(*columns, pair["video_id"].to_numpy(), **bootstrap_options(results)), ""


def select_switch_predictions(results: Results) -> tuple[pd.DataFrame | None, str]:
    """The clips on which the switch is judged: the finetune ones, where it is used, else its validation clips."""
    for part in ("finetune", "validation"):
        if results.switch_predictions is not None and (results.switch_predictions["part"] == part).any():
            return results.switch_predictions[results.switch_predictions["part"] == part], part
    return None, ""


def compute_headlines(results: Results) -> list[Headline]:
    """What the paper claims, in its order, measured on this study."""
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    default, bound = results.find_default_setting(audio), results.find_upper_bound_setting(audio)
    names = {"audio": results.get_title(audio), "visual": results.get_title(visual)}
    facts, found = paper.load_facts(), []

    def add(key, title, meaning, kind, measured, published=None):
        found.append(Headline(key, title, meaning, kind, *measured, published))

    meaning = f"{names['visual']} minus {names['audio']}, same analysis questions"
    add("gap", "The gap", meaning, "points", _compute_difference(results, "analysis", audio, visual), facts["gap"])
    frame, part = select_switch_predictions(results)
    meaning = "how often, from sound alone, it rightly says who knows the label better; both answers weigh alike"
    if frame is None:
        measured = None, "the switch's predictions are missing"
    else:
        interval = compute_switch_metrics(results, frame)["balanced_accuracy"]
        measured = interval, "" if interval else f"all {part} clips have the same true answer"
    add("switch", "The switch", meaning, "percent", measured)
    meaning = f"{names['audio']} after distillation minus before, analysis questions"
    add("gain", "The gain", meaning, "points", _compute_difference(results, "analysis", audio, default), facts["gain"])
    measured = _compute_gain_ratio(
        results, "analysis", (audio, default, audio, bound), "ground truth gained nothing to compare with"
    )
    meaning = "the gain as a share of what teaching the true answers gains"
    published = facts["share_of_ground_truth"]
    add("recovered_share_of_ground_truth", "Of ground truth's gain", meaning, "percent", measured, published)
    measured = _compute_gain_ratio(results, "analysis", (audio, default, audio, visual), "the teacher was not ahead")
    meaning = "the gain as a share of the teacher's lead; above 100 % the student passed its teacher"
    add("share_of_teacher_lead", "Of the teacher's lead", meaning, "percent", measured, facts["share_of_teacher_lead"])
    for split in ("analysis", "test"):
        meaning = f"distilled {names['audio']} minus {names['visual']}, {split} questions"
        published = facts[f"student_minus_teacher_{split}"]
        measured = _compute_difference(results, split, visual, default)
        add(f"student_minus_teacher.{split}", f"Student above teacher, {split}", meaning, "points", measured, published)
    measured = _compute_difference(results, "unseen", audio, default)
    meaning = "the gain on labels that were in no training question"
    published = round(facts["unseen_after"] - facts["unseen_before"], 1)
    add("unseen.gain", "Unseen labels", meaning, "points", measured, published)
    correlations = (
        human_tables.build_correlation_table(results, human_tables.build_human_label_table(results))
        if human_tables.has_human_results(results)
        else ()
    )
    if len(correlations):
        row = correlations.iloc[0]  # Pearson's, on the gap that chose the labels
        ends = (row[f"correlation{end}"] for end in ("", "_low", "_high"))
        interval = Interval(*map(float, ends)) if np.isfinite(row["correlation"]) else None
        meaning = (
            f"correlation of the humans' gap with the models' over {row['labels']} labels chosen for the models' gap"
        )
        measured = interval, "" if interval else "too few labels were judged by both senses"
        add("human_gap_correlation", "Humans and models", meaning, "correlation", measured)
    return found
