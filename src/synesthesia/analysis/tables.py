"""CSV tables of the report, built from `Results`.

Proportions are in [0, 1], differences in [-1, 1]; a cell is empty (nan) where there is no number. `<name>_low` and
`<name>_high` are the bounds of the interval of `<name>`.
"""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from synesthesia import schemas, stats
from synesthesia.analysis import curation_counts, published, vggsounder
from synesthesia.analysis.columns import (
    accuracy_columns,
    bootstrap_options,
    difference_columns,
    interval_columns,
    paired_difference,
)
from synesthesia.analysis.results import Respondent, Results
from synesthesia.config import DistillSetting
from synesthesia.stats import Interval

SPLITS = ("analysis", "test", "unseen")
PAPER_SPLITS = ("analysis", "test")
ROLES = {"model": "original", "setting": "distilled", "human": "human", "file": "from a file"}


def _list_students(results: Results) -> list[tuple[Respondent, DistillSetting]]:
    return [(r, r.setting) for r in results.respondents if r.setting is not None]


def _get_model_title(results: Results, key: str) -> str:
    """Return the title of a model, with or without answers."""
    has_answers = any(r.key == key for r in results.respondents)
    return results.get_title(key) if has_answers else results.config.get_respondent(key).title


def build_table1(results: Results) -> pd.DataFrame:
    """Build Table 1: accuracies of original models, their default students and humans.

    Args:
        results: The study's results.

    Returns:
        One row per respondent, each default student below its original: respondent, title, modality, role; by split
        the cells of `accuracy_columns` and the paper's accuracy.
    """
    rows = []
    for respondent in results.respondents:
        setting, title, paper_accuracies = respondent.setting, respondent.title, {}
        if setting is not None:
            if respondent.key != results.find_default_setting(setting.student):
                continue
            title = f"{_get_model_title(results, setting.student)} distilled from "
            title += _get_model_title(results, setting.teacher)
            paper_accuracies = published.get_setting_accuracies(setting, results.config)
        elif respondent.kind == "model":
            paper_accuracies = published.get_model_accuracies(results.config.models[respondent.key].family)
        row = {"respondent": respondent.key, "title": title, "modality": respondent.modality}
        row |= {"role": ROLES[respondent.kind]}
        for split in SPLITS:
            row |= accuracy_columns(results, results.get_answers(respondent.key, split), f"{split}_")
            if split in PAPER_SPLITS:
                row |= {f"paper_{split}_accuracy": paper_accuracies.get(split, math.nan)}
        rows.append(row)
    return pd.DataFrame(rows)


def build_table2(results: Results) -> pd.DataFrame:
    """Build Table 2: accuracy of every distillation setting and its difference from the student's default setting.

    Args:
        results: The study's results.

    Returns:
        One row per setting: setting, title, student, teacher, labels, kl, anti_forgetting; by split the cells of
        `accuracy_columns`, the paper's accuracy, the cells of `difference_columns`, and `p_holm`, the p value
        corrected within student and split.
    """
    rows, titles = [], results.get_setting_titles()
    for respondent, setting in _list_students(results):
        default = results.find_default_setting(setting.student)
        paper_accuracies = published.get_setting_accuracies(setting, results.config)
        row = {"setting": respondent.key, "title": titles[respondent.key], "student": setting.student}
        row |= {"teacher": setting.teacher, "labels": setting.labels, "kl": setting.kl}
        row |= {"anti_forgetting": setting.anti_forgetting}
        for split in PAPER_SPLITS:
            row |= accuracy_columns(results, results.get_answers(respondent.key, split), f"{split}_")
            row |= {f"paper_{split}_accuracy": paper_accuracies.get(split, math.nan)}
            difference = None
            if default is not None and default != respondent.key:
                difference = paired_difference(results, split, default, respondent.key)
            row |= difference_columns(difference, f"{split}_")
        rows.append(row)
    frame = pd.DataFrame(rows)
    for split in PAPER_SPLITS if len(frame) else ():
        frame[f"{split}_p_holm"] = frame.groupby("student")[f"{split}_p"].transform(stats.holm_correction)
    return frame


def build_before_after_table(results: Results) -> pd.DataFrame:
    """Compare each student before and after distillation on the same questions.

    Args:
        results: The study's results.

    Returns:
        One row per setting and split: setting, title, student, split and the cells of `paired_difference`.
    """
    rows, titles = [], results.get_setting_titles()
    for respondent, setting in _list_students(results):
        for split in SPLITS:
            difference = paired_difference(results, split, setting.student, respondent.key)
            if difference:
                row = {
                    "setting": respondent.key,
                    "title": titles[respondent.key],
                    "student": setting.student,
                    "split": split,
                }
                rows.append(row | difference)
    return pd.DataFrame(rows)


def build_label_table(results: Results) -> pd.DataFrame:
    """Build the table of labels: the gap, the switch and the default student's gain.

    Args:
        results: The study's results.

    Returns:
        One row per label of the analysis and the unseen split: label, split, n_clips; audio and visual, the accuracies
        of the two models of the gap; gap (visual minus audio); after, the accuracy of the audio model's default
        student; gain (after minus audio). gap_p and gain_p are McNemar's, `_holm` corrected over the labels of one
        split. switch_closed_fraction is the fraction of the label's n_finetune_clips finetune clips on which the visual
        model teaches.
    """
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    default = results.find_default_setting(audio)
    frames = []
    for split in ("analysis", "unseen"):
        pair = results.pair_answers(split, audio, visual)
        if pair is None:
            continue
        student_pair = results.pair_answers(split, audio, default) if default else None
        rows = []
        for label, part in pair.groupby("label", sort=True):
            row = {"label": label, "split": split, "n_clips": len(part)}
            row |= {"audio": part[audio].mean(), "visual": part[visual].mean()}
            row["gap"] = row["visual"] - row["audio"]
            row["gap_p"] = stats.mcnemar(part[audio], part[visual]).p_value
            row |= {"after": math.nan, "gain": math.nan, "gain_p": math.nan}
            student_part = student_pair[student_pair["label"] == label] if student_pair is not None else None
            if student_part is not None and len(student_part):
                row["after"] = student_part[default].mean()
                row["gain"] = row["after"] - student_part[audio].mean()
                row["gain_p"] = stats.mcnemar(student_part[audio], student_part[default]).p_value
            rows.append(row)
        frame = pd.DataFrame(rows)
        for name in ("gap_p", "gain_p"):
            frame[f"{name}_holm"] = stats.holm_correction(frame[name])
        frames.append(frame)
    if not frames:
        return pd.DataFrame()
    frame = pd.concat(frames, ignore_index=True)
    is_analysis = frame["split"] == "analysis"
    frame["visual_better"] = np.where(frame["gap"] > 0, "yes", "no")
    if results.route is not None:
        closed = results.route.groupby("label")["visual_teaches"].agg(["mean", "size"])
        frame["switch_closed_fraction"] = frame["label"].map(closed["mean"]).where(is_analysis)
        frame["n_finetune_clips"] = frame["label"].map(closed["size"]).where(is_analysis).fillna(0).astype(int)
    else:
        frame["switch_closed_fraction"], frame["n_finetune_clips"] = math.nan, 0
    return frame


def build_position_bias_table(results: Results, split: str = "analysis") -> pd.DataFrame:
    """Build the table of position bias: how models and students treat each letter.

    Args:
        results: The study's results.
        split: Split, as in schemas.SPLITS.

    Returns:
        One row per respondent and letter: n_questions with this target, target_fraction and chosen_fraction over all
        answers, and accuracy on these questions with its Wilson interval.
    """
    rows = []
    for respondent in results.respondents:
        answers = results.get_answers(respondent.key, split)
        if respondent.kind == "human" or answers.empty:
            continue
        for index in range(int(answers["target"].max()) + 1):
            part = answers[answers["target"] == index]
            interval = stats.wilson(int(part["correct"].sum()), len(part)) if len(part) else None
            row = {"respondent": respondent.key, "letter": schemas.LETTERS[index], "n_questions": len(part)}
            row |= {"target_fraction": len(part) / len(answers)}
            row |= {"chosen_fraction": float((answers["choice"] == index).mean())}
            rows.append(row | interval_columns(interval, "accuracy"))
    return pd.DataFrame(rows)


def build_switch_table(results: Results) -> pd.DataFrame:
    """Build the table of the switch's quality on its validation clips and on the finetune clips, where it is used.

    Args:
        results: The study's results.

    Returns:
        One row per part: part, n_clips, the metrics of `compute_switch_metrics` with intervals and the paper's
        accuracy.
    """
    rows, predictions = [], results.switch_predictions
    if predictions is None:
        return pd.DataFrame()
    for part in ("validation", "finetune"):
        frame = predictions[predictions["part"] == part]
        if len(frame):
            row = {"part": part, "n_clips": len(frame)}
            for name, interval in compute_switch_metrics(results, frame).items():
                row |= interval_columns(interval, name)
            rows.append(row | {"paper_accuracy": round(published.load_facts()[f"switch_accuracy_{part}"] / 100, 6)})
    return pd.DataFrame(rows)


def compute_switch_metrics(results: Results, predictions: pd.DataFrame) -> dict[str, Interval | None]:
    """Compute the accuracy of the switch.

    Args:
        results: The study's results. The switch is closed where the probability exceeds `route.threshold`.
        predictions: Rows of `results.switch_predictions`, at least one.

    Returns:
        accuracy (Wilson), balanced_accuracy (bootstrapped by video; None with one class) and always_visual_accuracy,
        the accuracy of the constant answer "visual" (Wilson).
    """
    target = predictions["target"].to_numpy(bool)
    closed = predictions["visual_better_probability"].to_numpy() > results.config.route.threshold
    confidence = results.config.report.confidence
    return {
        "accuracy": stats.wilson(int((closed == target).sum()), len(target), confidence),
        "balanced_accuracy": stats.balanced_accuracy(
            closed, target, predictions["video_id"].to_numpy(), **bootstrap_options(results)
        ),
        "always_visual_accuracy": stats.wilson(int(target.sum()), len(target), confidence),
    }


def build_rejected_table(results: Results) -> pd.DataFrame:
    """Count the files that curate rejects.

    Args:
        results: The study's results.

    Returns:
        One row per reason, most frequent first: reason, n_files, and file and detail of an example.
    """
    if results.rejected is None or results.rejected.empty:
        return pd.DataFrame(columns=["reason", "n_files", "example", "detail"])
    groups = results.rejected.sort_values("file").groupby("reason")
    frame = groups.agg(n_files=("file", "size"), example=("file", "first"), detail=("detail", "first")).reset_index()
    return frame.sort_values(["n_files", "reason"], ascending=[False, True], ignore_index=True)


def build_counts_table(results: Results) -> pd.DataFrame:
    """Count labels, videos and questions per split, and list curate's counts.

    Args:
        results: The study's results.

    Returns:
        description and count; curate's nested counts have dotted names.
    """
    rows = []
    for split in schemas.SPLITS:
        part = results.questions[results.questions["split"] == split]
        counts = {"labels": part["label"].nunique(), "videos": part["video_id"].nunique(), "questions": len(part)}
        rows += [(f"{split} {name}", count) for name, count in counts.items()]
    rows += [(f"curate.{key}", value) for key, value in flatten(results.curate_counts).items()]
    return pd.DataFrame(rows, columns=["description", "count"])


def flatten(nested: dict, prefix: str = "") -> dict[str, object]:
    """Flatten a nested dict: {"a": {"b": 1}} -> {"a.b": 1}.

    Args:
        nested: Nested dict.
        prefix: Prefix of the keys.

    Returns:
        Values by dotted key; a list is replaced by its length.
    """
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = len(value) if isinstance(value, list) else value
    return flat


def build_accuracy_plot_data(results: Results) -> pd.DataFrame:
    """Build the data of the accuracy plot of `dvc plots`.

    Args:
        results: The study's results.

    Returns:
        series ("respondent, split"), respondent, split and accuracy in percent.
    """
    rows = [
        {
            "series": f"{respondent.key}, {split}",
            "respondent": respondent.key,
            "split": split,
            "accuracy": round(100 * float(answers["correct"].mean()), 3),
        }
        for respondent in results.respondents
        for split in SPLITS
        if len(answers := results.get_answers(respondent.key, split))
    ]
    return pd.DataFrame(rows, columns=["series", "respondent", "split", "accuracy"])


def build_gap_plot_data(label_table: pd.DataFrame) -> pd.DataFrame:
    """Build the data of the gap plots of `dvc plots`.

    Args:
        label_table: Result of `build_label_table`.

    Returns:
        label, and gap and gain in percentage points, of the analysis labels.
    """
    columns = ["label", "gap", "gain"]
    if label_table.empty:
        return pd.DataFrame(columns=columns)
    frame = label_table[label_table["split"] == "analysis"][columns]
    return frame.assign(gap=(100 * frame["gap"]).round(3), gain=(100 * frame["gain"]).round(3))


def build_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Build all tables except those on humans.

    Args:
        results: The study's results.

    Returns:
        Tables by file name, in the order of the page.
    """
    label_table = build_label_table(results)
    return {
        "table1": build_table1(results),
        "table2": build_table2(results),
        "before_after": build_before_after_table(results),
        "labels": label_table,
        "switch": build_switch_table(results),
        "position_bias": build_position_bias_table(results),
        "letter_agreement": results.letter_agreement,
        "rejected": build_rejected_table(results),
        "curation_counts": curation_counts.build_curation_table(results),
        "vggsounder": vggsounder.build_slice_table(results),
        "counts": build_counts_table(results),
        "plot_accuracy": build_accuracy_plot_data(results),
        "plot_gap": build_gap_plot_data(label_table),
    }
