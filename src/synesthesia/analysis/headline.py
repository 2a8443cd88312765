"""The study's main results, each with its interval or the reason why it is undefined."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synesthesia import stats
from synesthesia.analysis import human_tables, published
from synesthesia.analysis.columns import bootstrap_options
from synesthesia.analysis.results import Results
from synesthesia.analysis.tables import compute_switch_metrics
from synesthesia.stats import Interval

Estimate = tuple[Interval | None, str]  # interval, and the reason where it is None


@dataclass(frozen=True)
class Headline:
    """One main result.

    Attributes:
        key: Key in metrics.json.
        title: Heading on the page.
        description: What it measures.
        kind: "percent", "points" or "correlation".
        interval: Estimate with its interval, in [-1, 1] (proportions and differences); None where it is undefined.
        missing_reason: Why there is no estimate.
        paper_value: The paper's value in percent or points, as printed there.
    """

    key: str
    title: str
    description: str
    kind: str
    interval: Interval | None = None
    missing_reason: str = ""
    paper_value: float | None = None


def _compute_gain_ratio(
    results: Results, split: str, respondents: tuple[str | None, ...], undefined_reason: str
) -> Estimate:
    names = [name for name in respondents if name is not None]
    if len(names) < len(respondents):
        return None, "the parameters have no such setting"
    pair = results.pair_answers(split, *names)
    if pair is None:
        return None, "answers are missing"
    correct = np.column_stack([pair[name].to_numpy() for name in names])
    interval = stats.gain_ratio(correct, pair["video_id"].to_numpy(), **bootstrap_options(results))
    return interval, "" if interval else undefined_reason


def _compute_difference(results: Results, split: str, before: str | None, after: str | None) -> Estimate:
    if before is None or after is None:
        return None, "the parameters have no such setting"
    pair = results.pair_answers(split, before, after)
    if pair is None:
        return None, "answers are missing"
    interval = stats.accuracy_difference(
        pair[before].to_numpy(), pair[after].to_numpy(), pair["video_id"].to_numpy(), **bootstrap_options(results)
    )
    return interval, ""


def select_switch_predictions(results: Results) -> tuple[pd.DataFrame | None, str]:
    """Select the predictions on which the switch is evaluated.

    Args:
        results: The study's results.

    Returns:
        Predictions and name of the part: the finetune clips, where the switch is used, else its validation clips; None
        and "" where there are none.
    """
    predictions = results.switch_predictions
    for part in ("finetune", "validation") if predictions is not None else ():
        frame = predictions[predictions["part"] == part] if predictions is not None else pd.DataFrame()
        if len(frame):
            return frame, part
    return None, ""


def _compute_switch_accuracy(results: Results) -> Estimate:
    predictions, part = select_switch_predictions(results)
    if predictions is None:
        return None, "the switch's predictions are missing"
    interval = compute_switch_metrics(results, predictions)["balanced_accuracy"]
    return interval, "" if interval else f"all {part} clips have the same target"


def compute_headlines(results: Results) -> list[Headline]:
    """Compute the paper's main claims on this study, in the paper's order.

    Args:
        results: The study's results.

    Returns:
        The headlines; that on humans only where both gaps share labels.
    """
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    default, upper_bound = results.find_default_setting(audio), results.find_upper_bound_setting(audio)
    audio_title, visual_title, facts = results.get_title(audio), results.get_title(visual), published.load_facts()
    headlines = [
        Headline(
            "gap",
            "Audio-visual gap",
            f"{visual_title} minus {audio_title} on the same analysis questions",
            "points",
            *_compute_difference(results, "analysis", audio, visual),
            facts["gap"],
        ),
        Headline(
            "switch",
            "Switch",
            "balanced accuracy of predicting from audio alone which modality is better on the label",
            "percent",
            *_compute_switch_accuracy(results),
        ),
        Headline(
            "gain",
            "Distillation gain",
            f"{audio_title} after minus before distillation on the analysis questions",
            "points",
            *_compute_difference(results, "analysis", audio, default),
            facts["gain"],
        ),
        Headline(
            "recovered_fraction_of_ground_truth",
            "Fraction of the ground-truth gain",
            "gain relative to the gain from training on ground-truth labels",
            "percent",
            *_compute_gain_ratio(
                results, "analysis", (audio, default, audio, upper_bound), "training on ground truth gives no gain"
            ),
            facts["fraction_of_ground_truth"],
        ),
        Headline(
            "fraction_of_teacher_lead",
            "Fraction of the teacher's lead",
            "gain relative to the teacher's lead; above 100 % the student is better than its teacher",
            "percent",
            *_compute_gain_ratio(results, "analysis", (audio, default, audio, visual), "the teacher has no lead"),
            facts["fraction_of_teacher_lead"],
        ),
    ]
    for split in ("analysis", "test"):
        headlines.append(
            Headline(
                f"student_minus_teacher.{split}",
                f"Student minus teacher, {split}",
                f"distilled {audio_title} minus {visual_title} on the {split} questions",
                "points",
                *_compute_difference(results, split, visual, default),
                facts[f"student_minus_teacher_{split}"],
            )
        )
    headlines.append(
        Headline(
            "unseen.gain",
            "Gain on unseen labels",
            "gain on labels that are in no training question",
            "points",
            *_compute_difference(results, "unseen", audio, default),
            round(facts["unseen_after"] - facts["unseen_before"], 1),
        )
    )
    correlations = pd.DataFrame()
    if human_tables.has_human_results(results):
        label_table = human_tables.build_human_label_table(results)
        correlations = human_tables.build_correlation_table(results, label_table)
    if len(correlations):
        row = correlations.iloc[0]  # Pearson's, with the gap that selected the labels
        estimate, low, high = (float(row[f"correlation{end}"]) for end in ("", "_low", "_high"))
        is_defined = bool(np.isfinite(estimate))
        headlines.append(
            Headline(
                "human_gap_correlation",
                "Humans and models",
                f"correlation of the humans' and the models' gaps over {row['n_labels']} labels selected by the "
                "models' gap",
                "correlation",
                Interval(estimate, low, high) if is_defined else None,
                "" if is_defined else "humans answered too few labels in both modalities",
            )
        )
    return headlines
