"""Figure that compares humans with the models: both gaps by label, and the humans' response times."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synesthesia.analysis.figures.style import (
    GRID_COLOR,
    GUIDE_COLOR,
    MODALITY_COLORS,
    TEXT_COLOR,
    ZERO_COLOR,
    format_percent_axis,
    lighten,
    make_axes,
    placeholder,
    scatter_jitter,
    with_style,
    write_message,
)
from synesthesia.analysis.figures.text_fit import shorten, shorten_title
from synesthesia.analysis.human_tables import AUDIO_BETTER, TIE, VISUAL_BETTER

GROUP_COLORS = {AUDIO_BETTER: MODALITY_COLORS["audio"], TIE: "#777777", VISUAL_BETTER: MODALITY_COLORS["visual"]}
NO_LABELS = "There is no label that both answered."


@with_style
def plot_human_gaps(labels: pd.DataFrame, response_times: list[dict], names: tuple[str, str], caption: str) -> Figure:
    """Plot the humans' gap against the models' gap by label, and response times.

    Args:
        labels: Result of `human_tables.build_human_label_table`.
        response_times: title, modality and seconds (array) of each respondent.
        names: Whose gap is on the x axis and on the y axis.
        caption: The correlation as text.

    Returns:
        The figure.
    """
    if labels.empty and not response_times:
        return placeholder("There is no label that humans answered in both modalities, and no response time.")
    height = max(4.6, 1.3 + 0.19 * len(labels))
    figure, axes = make_axes(10.5, height, 1, 3, width_ratios=[1.1, 1, 0.75])
    scatter_axes, dumbbell_axes, time_axes = axes[0]
    _draw_scatter(scatter_axes, labels, names, caption)
    _draw_dumbbells(dumbbell_axes, labels, names)
    _draw_response_times(time_axes, response_times)
    return figure


def _draw_scatter(axes: Axes, labels: pd.DataFrame, names: tuple[str, str], caption: str) -> None:
    if labels.empty:
        return write_message(axes, NO_LABELS)
    jitter = scatter_jitter(len(labels))
    x, y = labels["models_gap"] + jitter[0], labels["reference_gap"] + jitter[1]
    axes.axhline(0, color=GUIDE_COLOR, linewidth=1, zorder=1)
    axes.axvline(0, color=GUIDE_COLOR, linewidth=1, zorder=1)
    for group, color in GROUP_COLORS.items():
        in_group = (labels["group"] == group).to_numpy()
        legend = f"{group} ({in_group.sum()})"
        axes.scatter(x[in_group], y[in_group], s=32, color=color, edgecolors=TEXT_COLOR, linewidths=0.5, label=legend)
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    axes.set(xlabel=f"{names[0]}: visual minus audio", ylabel=f"{names[1]}: visual minus audio")
    axes.set_title(caption, fontsize=9)
    axes.legend(fontsize=7.5, loc="upper left", title="Models' gap", title_fontsize=7.5)
    format_percent_axis(axes.xaxis)
    format_percent_axis(axes.yaxis)


def _draw_dumbbells(axes: Axes, labels: pd.DataFrame, names: tuple[str, str]) -> None:
    if labels.empty:
        return write_message(axes, NO_LABELS)
    position = np.arange(len(labels))
    colors = labels["group"].map(GROUP_COLORS)
    models_gap, reference_gap = labels["models_gap"], labels["reference_gap"]
    axes.hlines(position, models_gap, reference_gap, color=GUIDE_COLOR, linewidth=1.5)
    axes.scatter(models_gap, position, s=20, color=colors, label=names[0])
    axes.scatter(
        reference_gap, position, s=26, marker="D", facecolors="white", edgecolors=colors, linewidths=1.3, label=names[1]
    )
    axes.axvline(0, color=ZERO_COLOR, linewidth=0.8)
    axes.set_yticks(position, [shorten(label, 26, 1) for label in labels["label"]], fontsize=7.5)
    axes.set(xlim=(-1.05, 1.05), ylim=(len(labels) - 0.3, -0.7), xlabel="Visual minus audio accuracy")
    axes.set_title(f"Dot: {names[0]}, diamond: {names[1]}", fontsize=9)
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    format_percent_axis(axes.xaxis)


def _draw_response_times(axes: Axes, response_times: list[dict]) -> None:
    if not response_times:
        return write_message(axes, "There are no response times.")
    plot = axes.boxplot(
        [r["seconds"] for r in response_times],
        widths=0.55,
        patch_artist=True,
        whis=(5, 95),
        showfliers=False,
        medianprops={"color": TEXT_COLOR},
    )
    for box, respondent in zip(plot["boxes"], response_times, strict=True):
        color = MODALITY_COLORS[respondent["modality"]]
        box.set(facecolor=lighten(color, 2), edgecolor=color, hatch="////")
    width = max(4, min(9, 27 // len(response_times)))
    tick_labels = [shorten_title(r["title"], width, 4, 8) for r in response_times]
    axes.set_xticks(range(1, len(response_times) + 1), tick_labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Response time in seconds")
    axes.set_title("Median, quartiles, 5 to 95 %", fontsize=9)
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.6)
