"""Which figures the report shows, drawn from its tables: `Drawing`s in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from synesthesia.analysis import formatting, human_tables
from synesthesia.analysis.figures import diagnostics, humans, paper
from synesthesia.analysis.results import Results
from synesthesia.distillation.gap import group_labels


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its file name, and `says`, its content in words for those who cannot see it."""

    name: str
    figure: Figure
    alt_text: str


def compute_label_accuracy(results: Results) -> tuple[pd.DataFrame, list[dict]]:
    """Accuracy [labels, titles] of all but the distilled, and who they are, as `figures.figure1` wants.

    On the analysis clips, or on the test clips where humans judged only those.
    """
    columns, people, split = (
        {},
        [],
        human_tables.get_human_split(results) if human_tables.has_human_results(results) else "analysis",
    )
    for person in results.respondents:
        answers = results.get_answers(person.key, split)
        if person.kind == "setting" or answers.empty:
            continue
        columns[person.title] = answers.groupby("label")["correct"].mean()
        people.append({"title": person.title, "sense": person.modality, "human": person.kind == "human"})
    return pd.DataFrame(columns), people


def render_figures(results: Results, tables: dict[str, pd.DataFrame]) -> list[ReportFigure]:
    """All figures of the report, from `tabulate.everything` and the study."""
    number = results.config.report.labels_per_group
    confidence = results.config.report.confidence
    audio, visual = results.config.measure_gap.audio, results.config.measure_gap.visual
    labels = tables["labels"]
    empty = labels.empty
    seen = labels if empty else labels[labels["set"] == "analysis"].reset_index(drop=True)
    accuracy, people = compute_label_accuracy(results)
    judged = human_tables.get_human_labels(results) if human_tables.has_human_results(results) else None
    shown = seen if judged is None or seen.empty else seen[seen["label"].isin(judged)]
    rows = group_labels(shown, number) if len(shown) else {}
    told = {
        "before": f"{results.get_title(audio)} before",
        "after": "after distillation",
        "teacher": results.get_title(visual),
    }
    heard, strange = _select_figure3_labels(labels, seen)
    titles = {p.key: p.setting.title + f" ({results.get_title(p.setting.student)})" if p.setting else p.title
              for p in results.respondents}  # fmt: skip
    predictions = results.switch_predictions if results.switch_predictions is not None else pd.DataFrame()
    table1 = tables["table1"]
    originals = table1[table1["role"] == "original"] if len(table1) else table1
    drawn = [
        ReportFigure("figure1", paper.plot_figure1(accuracy, people, rows),
                "Bars of each respondent's accuracy for labels on a par, better heard and better seen."),
        *_render_human_figures(results, tables),
        ReportFigure("gap", paper.plot_gap(seen, number), "Each label's audio against visual accuracy, and the switch."),
        ReportFigure("switch", diagnostics.plot_switch(predictions, results.switch_history, confidence),
                "ROC curve, reliability and training history of the switch."),
        ReportFigure("table2", diagnostics.plot_ablation(tables["table2"], originals, confidence),
                "Accuracy of each distillation setting with its interval, and the paper's figure."),
        ReportFigure("figure3", paper.plot_figure3(heard, strange, told, number),
                "Bars of the student's accuracy before and after distillation and of its teacher, label by label."),
        ReportFigure("positions", diagnostics.plot_position_bias(tables["positions"], titles),
                "How often each letter is chosen, and the accuracy by the true option's position."),
    ]  # fmt: skip
    if results.has_simulated_responses:
        for drawing in drawn:
            paper.watermark(drawing.figure, "SIMULATED")
    return drawn


def _render_human_figures(results: Results, tables: dict[str, pd.DataFrame]) -> list[ReportFigure]:
    """The figure of humans beside models; none where nobody has judged."""
    if "human_labels" not in tables:
        return []
    times = []
    for person in results.respondents:
        frame = results.responses.get(person.key)
        if frame is not None and person.kind == "human":
            seconds = frame["seconds"][
                ~(frame["inattentive"] & (results.config.import_answers.inattentive == "drop"))
            ].dropna()
            times += (
                [{"title": person.title, "sense": person.modality, "seconds": seconds.to_numpy()}]
                if len(seconds)
                else []
            )
    found = tables["human_correlations"]
    told = "Too few labels for a correlation"
    if len(found) and pd.notna(found.iloc[0]["correlation"]):
        row = found.iloc[0]
        told = f"Pearson {formatting.format_signed(row['correlation'])} " + formatting.format_interval(
            row["correlation_low"], row["correlation_high"], formatting.format_signed
        )
    names = "Models", "Humans" if any(p.kind == "human" for p in results.respondents) else "Compared"
    figure = humans.plot_human_gaps(tables["human_labels"], times, names, told)
    return [
        ReportFigure("humans", figure, "The models' gap against the humans' gap, label by label, and response times.")
    ]


def _select_figure3_labels(labels: pd.DataFrame, analysis_labels: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of Figure 3, the least accurate before first; of the unseen split only those not in training."""
    if labels.empty or labels["after"].isna().all():
        nothing = pd.DataFrame(columns=["label", "before", "after", "teacher"])
        return nothing, nothing
    strange = labels[(labels["set"] == "unseen") & ~labels["label"].isin(analysis_labels["label"])]
    return tuple(
        frame.rename(columns={"audio": "before", "visual": "teacher"})
        .dropna(subset=["after"])
        .sort_values(["before", "label"], ignore_index=True)
        for frame in (analysis_labels, strange)
    )
