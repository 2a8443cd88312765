"""Render the report's figures from its tables, in the order of the page."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from synesthesia.analysis import formatting, human_tables
from synesthesia.analysis.figures import diagnostics, humans, paper
from synesthesia.analysis.figures.style import watermark
from synesthesia.analysis.results import Results
from synesthesia.distillation.gap import group_labels


@dataclass(frozen=True)
class ReportFigure:
    """Figure of the report.

    Attributes:
        name: File name without extension, and id on the page.
        figure: The figure.
        alt_text: Content in words, for readers who cannot see it.
    """

    name: str
    figure: Figure
    alt_text: str


def compute_label_accuracy(results: Results) -> tuple[pd.DataFrame, list[dict]]:
    """Compute accuracies by label of all respondents except students, for `paper.plot_figure1`.

    Args:
        results: The study's results.

    Returns:
        Accuracies in [0, 1] (index label, one column per title) on the analysis clips, or on the test clips where
        humans answered only those; and title, modality and is_human of each respondent.
    """
    split = human_tables.get_human_split(results) if human_tables.has_human_results(results) else "analysis"
    columns, respondents = {}, []
    for respondent in results.respondents:
        answers = results.get_answers(respondent.key, split)
        if respondent.kind == "setting" or answers.empty:
            continue
        columns[respondent.title] = answers.groupby("label")["correct"].mean()
        is_human = respondent.kind == "human"
        respondents.append({"title": respondent.title, "modality": respondent.modality, "is_human": is_human})
    return pd.DataFrame(columns), respondents


def render_figures(results: Results, tables: dict[str, pd.DataFrame]) -> list[ReportFigure]:
    """Render all figures; with simulated responses, each has a watermark.

    Args:
        results: The study's results.
        tables: Results of `tables.build_tables` and `human_tables.build_human_tables`.

    Returns:
        The figures in the order of the page.
    """
    report = results.config.report
    labels, table1 = tables["labels"], tables["table1"]
    analysis_labels = labels
    if len(labels):
        analysis_labels = labels[labels["split"] == "analysis"].reset_index(drop=True)
    predictions = results.switch_predictions if results.switch_predictions is not None else pd.DataFrame()
    original_models = table1[table1["role"] == "original"] if len(table1) else table1
    setting_titles = results.get_setting_titles()
    titles = {
        r.key: f"{setting_titles[r.key]} ({results.get_title(r.setting.student)})" if r.setting else r.title
        for r in results.respondents
    }
    figures = [
        _render_figure1(results, analysis_labels),
        *_render_human_figures(results, tables),
        ReportFigure(
            "gap",
            paper.plot_gap(analysis_labels, report.labels_per_group),
            "Visual against audio accuracy by label, and how often the switch is closed.",
        ),
        ReportFigure(
            "switch",
            diagnostics.plot_switch(predictions, results.switch_history, report.confidence),
            "ROC curve, calibration curve and training history of the switch.",
        ),
        ReportFigure(
            "table2",
            diagnostics.plot_ablation(tables["table2"], original_models, report.confidence),
            "Accuracy of each distillation setting with its interval, and the paper's accuracy.",
        ),
        _render_figure3(results, labels, analysis_labels),
        ReportFigure(
            "position_bias",
            diagnostics.plot_position_bias(tables["position_bias"], titles),
            "How often each letter is chosen, and the accuracy by the target's position.",
        ),
    ]
    if results.has_simulated_responses:
        for figure in figures:
            watermark(figure.figure, "SIMULATED")
    return figures


def _render_figure1(results: Results, analysis_labels: pd.DataFrame) -> ReportFigure:
    accuracy, respondents = compute_label_accuracy(results)
    labels = analysis_labels
    if len(labels) and human_tables.has_human_results(results):
        labels = labels[labels["label"].isin(human_tables.get_human_labels(results))]
    groups = group_labels(labels, results.config.report.labels_per_group) if len(labels) else {}
    return ReportFigure(
        "figure1",
        paper.plot_figure1(accuracy, respondents, groups),
        "Bars of each respondent's accuracy by label, in three groups: tie, audio better, visual better.",
    )


def _render_figure3(results: Results, labels: pd.DataFrame, analysis_labels: pd.DataFrame) -> ReportFigure:
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    titles = {
        "before": f"{results.get_title(audio)} before",
        "after": "after distillation",
        "teacher": results.get_title(visual),
    }
    trained, unseen = select_figure3_labels(labels, analysis_labels)
    return ReportFigure(
        "figure3",
        paper.plot_figure3(trained, unseen, titles, results.config.report.labels_per_group),
        "Bars of the student's accuracy before and after distillation and of its teacher, by label.",
    )


def _render_human_figures(results: Results, tables: dict[str, pd.DataFrame]) -> list[ReportFigure]:
    """Render the comparison with humans; no figure where there is nothing to compare."""
    if "human_labels" not in tables:
        return []
    drops_inattentive = results.config.import_answers.inattentive == "drop"
    response_times = []
    for respondent in results.respondents:
        responses = results.responses.get(respondent.key)
        if responses is None or respondent.kind != "human":
            continue
        seconds = responses["seconds"][~(responses["inattentive"] & drops_inattentive)].dropna().to_numpy()
        if len(seconds):
            response_times.append({"title": respondent.title, "modality": respondent.modality, "seconds": seconds})
    correlations, caption = tables["human_correlations"], "Too few labels for a correlation"
    if len(correlations) and pd.notna(correlations.iloc[0]["correlation"]):
        row = correlations.iloc[0]
        interval = formatting.format_interval(row["correlation_low"], row["correlation_high"], formatting.format_signed)
        caption = f"Pearson {formatting.format_signed(row['correlation'])} {interval}"
    has_humans = any(r.kind == "human" for r in results.respondents)
    names = ("Models", "Humans" if has_humans else "Reference")
    figure = humans.plot_human_gaps(tables["human_labels"], response_times, names, caption)
    return [ReportFigure("humans", figure, "The humans' gap against the models' gap by label, and response times.")]


def select_figure3_labels(labels: pd.DataFrame, analysis_labels: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select the labels of Figure 3.

    Args:
        labels: Result of `tables.build_label_table`.
        analysis_labels: Its rows of the analysis split.

    Returns:
        Trained labels, and labels of the unseen split that are not among them; each with label, before, after and
        teacher, lowest accuracy before distillation first.
    """
    if labels.empty or labels["after"].isna().all():
        empty = pd.DataFrame(columns=["label", "before", "after", "teacher"])
        return empty, empty
    unseen = labels[(labels["split"] == "unseen") & ~labels["label"].isin(analysis_labels["label"])]
    trained, unseen = (
        frame.rename(columns={"audio": "before", "visual": "teacher"})
        .dropna(subset=["after"])
        .sort_values(["before", "label"], ignore_index=True)
        for frame in (analysis_labels, unseen)
    )
    return trained, unseen
