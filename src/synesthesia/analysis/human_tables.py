"""Tables that compare humans with the models: accuracies, label-wise gaps, response times and inter-rater agreement.

All tables are empty where no human responses exist. Proportions are in [0, 1], differences and correlations in [-1, 1],
times in seconds. `report.reference_gap` names the two respondents, humans or not, whose gap is compared with the gap of
the models. The labels of Figure 1 are selected by the models' gap on the analysis clips, so on these very labels that
gap is biased upward. Each correlation is therefore computed twice: with the gap that selected the labels (as in the
paper) and with the models' gap on the test clips, which selected nothing.
"""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from synesthesia import stats
from synesthesia.analysis import published
from synesthesia.analysis.columns import (
    accuracy_columns,
    bootstrap_options,
    difference_columns,
    interval_columns,
    paired_difference,
)
from synesthesia.analysis.results import Respondent, Results
from synesthesia.distillation.gap import group_labels
from synesthesia.schemas import LETTERS

TIE, AUDIO_BETTER, VISUAL_BETTER = "Tie", "Audio better", "Visual better"  # keys of `gap.group_labels`


def has_human_results(results: Results) -> bool:
    """Check whether there is anything to compare with the models.

    Args:
        results: The study's results.

    Returns:
        Whether a human, or both respondents of `report.reference_gap`, have answered.
    """
    return any(r.kind == "human" for r in results.respondents) or bool(len(build_human_label_table(results)))


def get_human_split(results: Results) -> str:
    """Get the split that the humans answered.

    Args:
        results: The study's results.

    Returns:
        "analysis", as in the paper, or "test" where they answered only that.
    """
    names = [r.key for r in results.respondents if r.kind == "human"]
    reference = results.config.report.reference_gap
    names += [reference.audio, reference.visual] if reference else []
    return "analysis" if any(len(results.get_answers(name, "analysis")) for name in names) else "test"


def get_human_labels(results: Results) -> list[str]:
    """Get the labels that the humans answered.

    Args:
        results: The study's results.

    Returns:
        Labels in alphabetical order; without humans, those that both respondents of `report.reference_gap` answered.
    """
    split = get_human_split(results)
    humans = [r for r in results.respondents if r.kind == "human"]
    labels = {label for human in humans for label in results.get_answers(human.key, split)["label"]}
    return sorted(labels or set(build_human_label_table(results).get("label", [])))


def build_human_label_table(results: Results) -> pd.DataFrame:
    """Build the table of labels that both respondents of `report.reference_gap` answered.

    Args:
        results: The study's results.

    Returns:
        One row per label, largest gap of the models first: label; group (of the models' gap, as in Figure 1);
        reference_audio and reference_visual (accuracies) with n_reference_*_clips; reference_gap; models_audio,
        models_visual and models_gap (analysis clips); models_gap_test; agreement: whether the reference gap has the
        sign of the group ("yes", "no" or "tie"; empty for the group Tie).
    """
    reference, models = results.config.report.reference_gap, results.config.measure_gap
    model_pair = results.pair_answers("analysis", models.audio, models.visual)
    if reference is None or model_pair is None:
        return pd.DataFrame()
    names = {"audio": reference.audio, "visual": reference.visual}
    has_analysis = all(len(results.get_answers(name, "analysis")) for name in names.values())
    split = "analysis" if has_analysis else "test"
    correct = {side: results.get_answers(name, split).groupby("label")["correct"] for side, name in names.items()}
    columns = {f"reference_{side}": groups.mean() for side, groups in correct.items()}
    columns |= {f"n_reference_{side}_clips": groups.size() for side, groups in correct.items()}
    frame = pd.DataFrame(columns).dropna()
    model_accuracy = model_pair.groupby("label")[[models.audio, models.visual]].mean()
    frame = frame.join(model_accuracy.set_axis(["models_audio", "models_visual"], axis=1), how="inner")
    if frame.empty:
        return pd.DataFrame()
    frame["reference_gap"] = frame["reference_visual"] - frame["reference_audio"]
    frame["models_gap"] = frame["models_visual"] - frame["models_audio"]
    frame["models_gap_test"] = math.nan
    test_pair = results.pair_answers("test", models.audio, models.visual)
    if test_pair is not None:
        test_accuracy: Any = test_pair.groupby("label")[[models.audio, models.visual]].mean()
        frame["models_gap_test"] = test_accuracy[models.visual] - test_accuracy[models.audio]
    frame = frame.rename_axis("label").reset_index()
    groups = group_labels(frame.rename(columns={"models_audio": "audio", "models_visual": "visual"}), len(frame))
    frame["group"] = frame["label"].map({label: group for group, labels in groups.items() for label in labels})
    sign = np.sign(frame["reference_gap"].round(12)) * frame["group"].map({TIE: 0, AUDIO_BETTER: -1, VISUAL_BETTER: 1})
    frame["agreement"] = sign.map({1.0: "yes", -1.0: "no", 0.0: "tie"}).where(frame["group"] != TIE, "")
    frame = frame.sort_values(["models_gap", "label"], ascending=[False, True], ignore_index=True)
    for side in names:
        frame[f"n_reference_{side}_clips"] = frame[f"n_reference_{side}_clips"].astype(int)
    return frame


def build_agreement_table(results: Results, label_table: pd.DataFrame) -> pd.DataFrame:
    """Count the labels on which the humans' gap agrees with the models' gap, as in the paper.

    A tie (equally many correct answers) is no agreement: it is in `total`, not in `count`.

    Args:
        results: The study's results.
        label_table: Result of `build_human_label_table`.

    Returns:
        One row per count: key, description, count, ties, total, fraction with its Wilson interval, paper_count and
        paper_total.
    """
    reference, models, facts = results.config.report.reference_gap, results.config.measure_gap, published.load_facts()
    if label_table.empty or reference is None:
        return pd.DataFrame()
    visual, audio = results.get_title(reference.visual), results.get_title(reference.audio)
    visual_model, audio_model = results.get_title(models.visual), results.get_title(models.audio)
    visual_leads = label_table[label_table["group"] == VISUAL_BETTER]
    audio_leads = label_table[label_table["group"] == AUDIO_BETTER]
    above_model = (visual_leads["reference_audio"] - visual_leads["models_audio"]).round(12)
    counts = [
        (
            "visual_above_audio",
            f"{visual} above {audio} where {visual_model} leads",
            (visual_leads["agreement"] == "yes").sum(),
            (visual_leads["agreement"] == "tie").sum(),
            len(visual_leads),
            "human_visual_above_audio_where_visual_leads",
        ),
        (
            "audio_above_visual",
            f"{audio} above {visual} where {audio_model} leads",
            (audio_leads["agreement"] == "yes").sum(),
            (audio_leads["agreement"] == "tie").sum(),
            len(audio_leads),
            "human_audio_above_visual_where_audio_leads",
        ),
        (
            "audio_above_model",
            f"{audio} above {audio_model} where {visual_model} leads",
            (above_model > 0).sum(),
            (above_model == 0).sum(),
            len(visual_leads),
            "human_audio_above_model_where_visual_leads",
        ),
    ]
    rows = []
    for key, description, count, ties, total, fact in counts:
        interval = stats.wilson(int(count), total, results.config.report.confidence) if total else None
        row = {"key": key, "description": description, "count": int(count), "ties": int(ties), "total": total}
        row |= interval_columns(interval, "fraction")
        row |= {"paper_count": facts[fact], "paper_total": facts["human_labels_per_group"]}
        rows.append(row)
    return pd.DataFrame(rows)


def build_correlation_table(results: Results, label_table: pd.DataFrame) -> pd.DataFrame:
    """Correlate the humans' and the models' label-wise gaps, bootstrapped by label.

    Args:
        results: The study's results.
        label_table: Result of `build_human_label_table`.

    Returns:
        One row per split of the models' gap (analysis, test) and kind (pearson, spearman): split, kind, n_labels and
        correlation with its interval.
    """
    rows = []
    for split, column in (("analysis", "models_gap"), ("test", "models_gap_test")) if len(label_table) else ():
        frame = label_table.dropna(subset=[column])
        for kind in ("pearson", "spearman"):
            x, y = frame[column].to_numpy(), frame["reference_gap"].to_numpy()
            interval = stats.correlation(x, y, kind, **bootstrap_options(results))
            row = {"split": split, "kind": kind, "n_labels": len(frame)}
            rows.append(row | interval_columns(interval, "correlation"))
    return pd.DataFrame(rows)


def _find_reference_model(results: Results, human: Respondent) -> str | None:
    """Find the model of the same modality: that of the gap, or the first audio-visual one."""
    models = {"audio": results.config.measure_gap.audio, "visual": results.config.measure_gap.visual}
    candidates = [r.key for r in results.respondents if r.kind == "model" and r.modality == human.modality]
    return models.get(human.modality, candidates[0] if candidates else None)


def build_respondent_table(results: Results) -> pd.DataFrame:
    """Build the table of accuracies on the labels that humans answered.

    Args:
        results: The study's results.

    Returns:
        One row per respondent except students: respondent, title, modality, split, n_labels and the cells of
        `accuracy_columns` (models on all clips of these labels, others on what they answered); paper_accuracy; for
        humans, reference_model (the model of the same modality) and the cells of `difference_columns`, human minus
        model on the questions that both answered.
    """
    split, labels, rows = get_human_split(results), get_human_labels(results), []
    for respondent in results.respondents:
        answers = results.get_answers(respondent.key, split)
        answers = answers[answers["label"].isin(labels)]
        if respondent.kind == "setting" or answers.empty:
            continue
        is_model = respondent.kind == "model"
        family = results.config.models[respondent.key].family if is_model else respondent.kind
        condition = results.config.get_respondent(respondent.key).condition or ""
        row = {"respondent": respondent.key, "title": respondent.title, "modality": respondent.modality}
        row |= {"split": split, "n_labels": answers["label"].nunique(), **accuracy_columns(results, answers)}
        row["paper_accuracy"] = published.get_figure1_accuracy(family, condition)
        model = _find_reference_model(results, respondent) if respondent.kind == "human" else None
        difference = paired_difference(results, split, model, respondent.key) if model else None
        row["reference_model"] = results.get_title(model) if model and difference else ""
        rows.append(row | difference_columns(difference))
    return pd.DataFrame(rows)


def build_response_table(results: Results) -> pd.DataFrame:
    """Build the table of responses: participants, exclusions, response times and inter-rater agreement.

    Letters are shuffled per clip, so chance agreement is near one in ten. Where `import_answers.inattentive` is `drop`,
    inattentive participants are in the `n_inattentive_*` columns alone.

    Args:
        results: The study's results.

    Returns:
        One row per respondent whose answers come from a file: respondent, title, n_participants, n_responses,
        n_inattentive_participants, n_inattentive_responses, n_no_choice; seconds (median, bootstrapped by participant),
        seconds_q1, seconds_q3 (quartiles) and seconds_correct (median of correct responses); n_repeated_questions and
        kappa, Fleiss' kappa on the questions with several responses, bootstrapped by video.
    """
    drops_inattentive, rows = results.config.import_answers.inattentive == "drop", []
    for respondent in results.respondents:
        responses = results.responses.get(respondent.key)
        if responses is None or responses.empty:
            continue
        inattentive = responses["inattentive"].to_numpy(bool)
        frame = responses[~inattentive] if drops_inattentive else responses
        row = {
            "respondent": respondent.key,
            "title": respondent.title,
            "n_participants": frame["participant"].nunique(),
            "n_responses": len(frame),
            "n_inattentive_participants": responses["participant"][inattentive].nunique(),
            "n_inattentive_responses": int(inattentive.sum()),
            "n_no_choice": int(frame["choice"].isna().sum()),
        }
        rows.append(row | _response_time_columns(results, frame) | _kappa_columns(results, frame))
    return pd.DataFrame(rows)


def _response_time_columns(results: Results, frame: pd.DataFrame) -> dict[str, float]:
    timed = frame[frame["seconds"].notna()]
    median = q1 = q3 = None
    if len(timed):
        median, q1, q3 = stats.bootstrap_quantiles(
            timed["seconds"], timed["participant"], (0.5, 0.25, 0.75), **bootstrap_options(results)
        )
    correct_seconds = timed[timed["correct"]]["seconds"]
    return interval_columns(median, "seconds") | {
        "seconds_q1": q1.estimate if q1 else math.nan,
        "seconds_q3": q3.estimate if q3 else math.nan,
        "seconds_correct": correct_seconds.median() if len(correct_seconds) else math.nan,
    }


def _kappa_columns(results: Results, frame: pd.DataFrame) -> dict[str, float]:
    with_choice = frame[frame["choice"].notna()]
    counts = pd.crosstab(with_choice["question_id"], with_choice["choice"].astype(int))
    counts = counts.reindex(columns=range(len(LETTERS)), fill_value=0)
    repeated = counts[counts.sum(axis=1) >= 2]
    interval = None
    if len(repeated):
        videos = results.questions.loc[repeated.index, "video_id"].to_numpy()
        interval = stats.fleiss_kappa(repeated.to_numpy(), videos, **bootstrap_options(results))
    return {"n_repeated_questions": len(repeated)} | interval_columns(interval, "kappa")


def build_human_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Build all tables on humans.

    Args:
        results: The study's results.

    Returns:
        Tables by file name; empty where there is nothing to compare with the models.
    """
    if not has_human_results(results):
        return {}
    label_table = build_human_label_table(results)
    return {
        "respondents": build_respondent_table(results),
        "responses": build_response_table(results),
        "human_labels": label_table,
        "human_agreement": build_agreement_table(results, label_table),
        "human_correlations": build_correlation_table(results, label_table),
    }


def build_human_metrics(tables: dict[str, pd.DataFrame]) -> dict:
    """Build the metrics on humans that DVC compares.

    Args:
        tables: Result of `build_human_tables`.

    Returns:
        Nested metrics: gap_correlation, agreement and, per respondent, responses, median_seconds and kappa; undefined
        values are omitted.
    """
    metrics: dict = {}
    for row in tables.get("human_correlations", pd.DataFrame()).to_dict("records"):
        if math.isfinite(row["correlation"]):
            by_kind = metrics.setdefault("gap_correlation", {}).setdefault(row["split"], {})
            by_kind[row["kind"]] = row["correlation"]
    for row in tables.get("human_agreement", pd.DataFrame()).to_dict("records"):
        counts = {"count": float(row["count"]), "total": float(row["total"])}
        metrics.setdefault("agreement", {})[row["key"]] = counts
    for row in tables.get("responses", pd.DataFrame()).to_dict("records"):
        values = {"responses": float(row["n_responses"]), "median_seconds": row["seconds"], "kappa": row["kappa"]}
        metrics[row["respondent"]] = {key: value for key, value in values.items() if math.isfinite(value)}
    return metrics
