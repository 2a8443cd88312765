"""Figures beyond the paper's: Table 2 as points with intervals, position bias, and the switch's reliability."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synesthesia import stats
from synesthesia.analysis.figures.style import (
    GRID_COLOR,
    GUIDE_COLOR,
    MODALITY_COLORS,
    TEXT_COLOR,
    format_percent_axis,
    make_axes,
    placeholder,
    with_style,
)
from synesthesia.analysis.figures.text_fit import fit_text, measure_text, shorten_titles
from synesthesia.analysis.formatting import NumberFormatter, format_points


@with_style
def plot_ablation(table2: pd.DataFrame, original_models: pd.DataFrame, confidence: float) -> Figure:
    """Plot Table 2: accuracy of each setting with its interval, next to the paper's accuracy.

    Args:
        table2: Result of `tables.build_table2`.
        original_models: Rows of `tables.build_table1` of the original models, drawn as lines.
        confidence: Confidence level of the intervals, for the legend.

    Returns:
        The figure; one row of panels per student, one column per split.
    """
    if table2.empty:
        return placeholder("There are no answers of distilled students, so there are no settings to compare.")
    students = list(table2["student"].unique())
    heights = [int((table2["student"] == student).sum()) for student in students]
    panel_titles = {s: fit_text(_get_title(original_models, s), 156, 10, 3) for s in students}
    n_extra_lines = sum(title.count("\n") for title in panel_titles.values())
    figure_height = 1.3 + 0.9 * len(students) + 0.36 * sum(heights) + 0.2 * n_extra_lines
    figure, axes = make_axes(10.5, figure_height, len(students), 2, height_ratios=[h + 1 for h in heights], sharex=True)
    for row, student in enumerate(students):
        settings = table2[table2["student"] == student]
        teacher = settings["teacher"].iloc[0]
        references = original_models[original_models["respondent"].isin([student, teacher])]
        for column, split in enumerate(("analysis", "test")):
            _draw_ablation_panel(axes[row, column], settings, split, references)
            axes[row, column].set_title(f"{panel_titles[student]} distilled, {split}")
        axes[row, 1].set_yticklabels([])
    markers = {
        f"this study, {100 * confidence:g} % interval": ("o", MODALITY_COLORS["audio"]),
        "the paper, full size": ("D", "white"),
    }
    handles = [
        axes[0, 0].plot([], [], marker, color=color, markeredgecolor=TEXT_COLOR, linestyle="")[0]
        for marker, color in markers.values()
    ]
    figure.legend(handles, list(markers), loc="outside lower center", ncols=2)
    return figure


def _get_title(original_models: pd.DataFrame, key: str) -> str:
    titles = original_models[original_models["respondent"] == key]["title"]
    return titles.iloc[0] if len(titles) else key


def _draw_ablation_panel(axes: Axes, settings: pd.DataFrame, split: str, references: pd.DataFrame) -> None:
    position = np.arange(len(settings))
    accuracy, low, high = (settings[f"{split}_accuracy{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    paper_accuracy = settings[f"paper_{split}_accuracy"].to_numpy(float)
    color = MODALITY_COLORS["audio"]
    axes.hlines(position, low, high, color=color, linewidth=2.2)
    axes.plot(accuracy, position, "o", color=color, markeredgecolor=TEXT_COLOR, markersize=7)
    axes.plot(paper_accuracy, position + 0.22, "D", color="white", markeredgecolor=TEXT_COLOR, markersize=5)
    for model in references.to_dict("records"):
        value, color = model[f"{split}_accuracy"], MODALITY_COLORS[model["modality"]]
        if np.isfinite(value):
            axes.axvline(value, color=color, linestyle="--", linewidth=1.1)
            is_short = measure_text(model["title"], 6.5) <= 100
            axes.annotate(
                model["title"] if is_short else fit_text(model["title"], max(40, 22 * len(settings)), 6.5, 2),
                (value, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=6.5,
                color=color,
                xytext=(2, -2),
                textcoords="offset points",
                va="top",
            )
    axes.set_yticks(position, shorten_titles(settings["title"], settings["setting"], 40, 2, 9))
    axes.set_ylim(len(settings) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    format_percent_axis(axes.xaxis)


@with_style
def plot_position_bias(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Plot position bias: how often each letter is chosen, and the accuracy where it is the target.

    Args:
        table: Result of `tables.build_position_bias_table`.
        titles: Titles by respondent's key.

    Returns:
        The figure.
    """
    if table.empty:
        return placeholder("There are no answers on analysis questions, so the position bias is unknown.")
    table = table.assign(bias=table["chosen_fraction"] - table["target_fraction"])
    respondents = list(table["respondent"].unique())
    figure, axes = make_axes(10.5, 1.0 + 0.32 * len(respondents), 1, 2)
    bias_axes, accuracy_axes = axes[0]
    max_bias = max(0.05, float(table["bias"].abs().max()))
    bias_colors = {"cmap": "PuOr", "vmin": -max_bias, "vmax": max_bias}
    _draw_heatmap(bias_axes, table, "bias", respondents, bias_colors, format_points)
    accuracy_colors = {"cmap": "cividis", "vmin": 0, "vmax": 1}
    _draw_heatmap(accuracy_axes, table, "accuracy", respondents, accuracy_colors, _format_whole_percent)
    tick_labels = shorten_titles([titles.get(r, r) for r in respondents], respondents, 38, 2, 7.5)
    bias_axes.set_yticks(range(len(respondents)), tick_labels, fontsize=7.5)
    accuracy_axes.set_yticks([])
    bias_axes.set_title("Chosen minus target fraction, points", fontsize=9)
    accuracy_axes.set_title("Accuracy where this letter is the target, %", fontsize=9)
    return figure


def _format_whole_percent(value: float | None) -> str:
    return f"{100 * cast(float, value):.0f}"


def _draw_heatmap(
    axes: Axes,
    table: pd.DataFrame,
    value_column: str,
    respondents: list[str],
    color_options: dict,
    formatter: NumberFormatter,
) -> None:
    """Draw one cell per respondent (row) and letter (column), with its value as text."""
    letters = sorted(table["letter"].unique())
    values = table.pivot(index="respondent", columns="letter", values=value_column)
    values = values.loc[respondents, letters].to_numpy(float)
    x_edges, y_edges = np.arange(len(letters) + 1) - 0.5, np.arange(len(respondents) + 1) - 0.5
    axes.pcolormesh(x_edges, y_edges, values, edgecolor="white", linewidth=1, **color_options)
    center = (color_options["vmax"] + color_options["vmin"]) / 2
    half_range = (color_options["vmax"] - color_options["vmin"]) / 2
    for row, column in np.argwhere(np.isfinite(values)):
        value = values[row, column]
        is_dark = value < center if value_column == "accuracy" else abs(value - center) > 0.75 * half_range
        color = "white" if is_dark else TEXT_COLOR
        axes.text(column, row, formatter(value), ha="center", va="center", fontsize=6.5, color=color)
    axes.set_xticks(range(len(letters)), letters)
    axes.set_ylim(len(respondents) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@with_style
def plot_switch(predictions: pd.DataFrame, history: pd.DataFrame | None, confidence: float) -> Figure:
    """Plot the switch's ROC curve, calibration curve and training history.

    Args:
        predictions: visual_better_probability in [0, 1], target and part.
        history: epoch, train_loss, validation_loss and validation_balanced_accuracy, or None.
        confidence: Confidence level of the intervals.

    Returns:
        The figure.
    """
    if predictions.empty:
        return placeholder("The switch's predictions are missing.")
    figure, axes = make_axes(10.5, 3.7, 1, 3)
    roc_axes, calibration_axes, history_axes = axes[0]
    available = set(predictions["part"])
    parts = [part for part in ("finetune", "validation") if part in available] or sorted(available)
    for part, color in zip(parts, MODALITY_COLORS.values(), strict=False):
        frame = predictions[predictions["part"] == part]
        score, target = frame["visual_better_probability"].to_numpy(), frame["target"].to_numpy()
        curve = stats.roc_curve(score, target)
        if curve:
            false_positive_rate, true_positive_rate, area = curve
            roc_axes.plot(false_positive_rate, true_positive_rate, color=color, label=f"{part}: AUC {area:.3f}")
        else:
            roc_axes.plot([], [], color=color, label=f"{part}: one class only, no curve")
        bins = stats.calibration_curve(score, target)
        x = [probability for probability, _, _ in bins]
        intervals = [stats.wilson(positives, total, confidence) for _, positives, total in bins]
        calibration_axes.vlines(x, [i.low for i in intervals], [i.high for i in intervals], color=color, linewidth=1)
        calibration_axes.plot(x, [i.estimate for i in intervals], "o-", color=color, markersize=4, label=part)
    for panel in (roc_axes, calibration_axes):
        panel.plot([0, 1], [0, 1], color=GUIDE_COLOR, linewidth=1, zorder=0)
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        panel.legend(loc="lower right", fontsize=7.5)
        format_percent_axis(panel.yaxis)
        format_percent_axis(panel.xaxis)
    roc_axes.set(xlabel="False positive rate", ylabel="True positive rate", title="ROC curve")
    calibration_axes.set(xlabel="Predicted probability", ylabel="Observed frequency", title="Calibration")
    _draw_history(history_axes, history)
    return figure


def _draw_history(axes: Axes, history: pd.DataFrame | None) -> None:
    axes.set(xlabel="Epoch", title="Training history")
    series = {
        "train_loss": ("-", MODALITY_COLORS["audio"]),
        "validation_loss": ("--", MODALITY_COLORS["audio"]),
        "validation_balanced_accuracy": ("-", MODALITY_COLORS["audio-visual"]),
    }
    if history is None or not set(series) & set(history.columns):
        axes.axis("off")
        axes.text(0.5, 0.5, "No training history.", ha="center", transform=axes.transAxes)
        return
    for name, (line_style, color) in series.items():
        if name in history:
            axes.plot(history["epoch"], history[name], line_style, color=color, label=name.replace("_", " "))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7.5)
