"""The paper's figures, from tables alone: Figure 1, the gap by label and Figure 3."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math
from typing import Any

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
)
from synesthesia.analysis.figures.text_fit import fit_text, make_unique, shorten
from synesthesia.distillation.gap import group_labels

BEFORE_COLOR, AFTER_COLOR, TEACHER_COLOR = MODALITY_COLORS["audio"], "#56B4E9", MODALITY_COLORS["visual"]
LEGEND_FONT_SIZE, LEGEND_POINTS = 8.5, 190  # three columns of this width fit beside each other


def _draw_grouped_bars(axes: Axes, frame: pd.DataFrame, styles: dict[str, dict], slots: int) -> None:
    """Draw the series of `frame` (labels, series) side by side; `slots` groups are reserved so that rows align."""
    width = 0.82 / max(len(frame.columns), 1)
    for index, name in enumerate(frame.columns):
        offset = (index - (len(frame.columns) - 1) / 2) * width
        position, height = np.arange(len(frame)) + offset, frame[name].to_numpy(float)
        axes.bar(position, np.nan_to_num(height), width * 0.94, label=name, linewidth=0, **styles.get(name, {}))
        for x in position[np.isfinite(height) & (height < 0.005)]:  # makes an accuracy of zero visible
            axes.plot([x - width * 0.4, x + width * 0.4], [0, 0], color=styles[name]["color"], linewidth=2.5)
    axes.set_xlim(-0.6, max(slots, 1) - 0.4)
    axes.set_ylim(0, 1.02)
    tick_labels = [shorten(label) for label in frame.index]
    axes.set_xticks(range(len(frame)), tick_labels, rotation=35, ha="right", fontsize=8, rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.6)
    format_percent_axis(axes.yaxis)
    if frame.empty:
        axes.text(0.01, 0.5, "This study has no label in this group.", transform=axes.transAxes, color=TEXT_COLOR)


def _add_bar_legend(figure: Figure, axes: np.ndarray, max_columns: int) -> None:
    """Add a legend with as many columns as fit; a tall legend makes the figure higher, so that the axes keep theirs."""
    bars = next(a.containers for a in axes[:, 0] if a.containers)
    names = [str(container.get_label()) for container in bars]
    options: dict[str, Any] = {"loc": "outside upper center", "fontsize": LEGEND_FONT_SIZE}
    columns = max_columns
    legend = figure.legend(bars, names, ncols=columns, **options)  # by name, since get_legend_handles skips "_..."
    while columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        columns -= 1
        legend = figure.legend(bars, names, ncols=columns, **options)
    n_lines = math.ceil(len(names) / columns) * max(name.count("\n") + 1 for name in names)
    n_extra_lines = n_lines - math.ceil(len(names) / max_columns)
    if n_extra_lines:
        figure.set_figheight(figure.get_figheight() + n_extra_lines * 1.3 * LEGEND_FONT_SIZE / 72)
    figure.supylabel("Accuracy", fontsize=9)


@with_style
def plot_figure1(accuracy: pd.DataFrame, respondents: list[dict], label_groups: dict[str, list[str]]) -> Figure:
    """Plot Figure 1: accuracy by label and respondent, one row per label group.

    The legend gives each respondent's mean over the labels, as the paper's caption does.

    Args:
        accuracy: Accuracies in [0, 1]; index label, one column per respondent's title.
        respondents: title, modality and is_human of each respondent, in the order of the bars.
        label_groups: Result of `gap.group_labels`.

    Returns:
        The figure.
    """
    labels = [label for group in label_groups.values() for label in group]
    if not labels or accuracy.empty:
        return placeholder("There is no label that both models of the gap answered, so Figure 1 is empty.")
    titles = [respondent["title"] for respondent in respondents]
    if list(accuracy.columns) != titles:
        accuracy = accuracy.loc[:, titles]
    names = make_unique(
        f"{fit_text(title, LEGEND_POINTS, LEGEND_FONT_SIZE, 3)}: {100 * mean:.1f} %"
        for title, mean in zip(titles, accuracy.loc[labels].mean(), strict=True)
    )
    styles, counts = {}, {}
    for name, respondent in zip(names, respondents, strict=True):
        modality, is_human = respondent["modality"], respondent["is_human"]
        step = counts[modality, is_human] = counts.get((modality, is_human), -1) + 1
        color = MODALITY_COLORS[modality]
        styles[name] = {"color": lighten(color, step + (2 if is_human else 0))}
        if is_human:
            styles[name] |= {"hatch": "////", "edgecolor": color}
    slots = max(len(group) for group in label_groups.values())
    figure, axes = make_axes(10.5, 7.6, 3)
    for row, (group_title, group) in zip(axes[:, 0], label_groups.items(), strict=True):
        frame = accuracy.loc[group].set_axis(names, axis=1)
        _draw_grouped_bars(row, frame, styles, slots)
        row.set_title(group_title, fontweight="bold", color=TEXT_COLOR)
    _add_bar_legend(figure, axes, min(3, len(respondents)))
    return figure


@with_style
def plot_figure3(
    trained_labels: pd.DataFrame, unseen_labels: pd.DataFrame, titles: dict[str, str], labels_per_row: int
) -> Figure:
    """Plot Figure 3: accuracy by label of the student before and after distillation and of its teacher.

    Args:
        trained_labels: label, before, after and teacher in [0, 1], in the order of the bars; two rows at most.
        unseen_labels: The same for labels that are in no training question.
        titles: Legend of before, after and teacher.
        labels_per_row: Maximum number of labels per row.

    Returns:
        The figure.
    """
    if trained_labels.empty and unseen_labels.empty:
        return placeholder("There is no answer of a distilled audio student, so Figure 3 is empty.")
    rows = []
    for title, frame in (("Trained labels, lowest accuracy first", trained_labels), ("Unseen labels", unseen_labels)):
        parts = [frame[start : start + labels_per_row] for start in (0, labels_per_row)]
        rows += [(title if i == 0 else "", part) for i, part in enumerate(parts) if i == 0 or len(part)]
    series = ["before", "after", "teacher"]
    names = make_unique(fit_text(titles[key], LEGEND_POINTS, LEGEND_FONT_SIZE, 3) for key in series)
    colors = (BEFORE_COLOR, AFTER_COLOR, TEACHER_COLOR)
    styles = {name: {"color": color} for name, color in zip(names, colors, strict=True)}
    slots = min(labels_per_row, max(len(trained_labels), len(unseen_labels)))
    figure, axes = make_axes(10.5, 0.7 + 2.05 * len(rows), len(rows))
    for row, (title, frame) in zip(axes[:, 0], rows, strict=True):
        bars = frame.set_index("label")[series].set_axis(names, axis=1)
        _draw_grouped_bars(row, bars, styles, slots)
        row.set_title(title, fontweight="bold", color=TEXT_COLOR)
    _add_bar_legend(figure, axes, 3)
    return figure


@with_style
def plot_gap(labels: pd.DataFrame, labels_per_group: int) -> Figure:
    """Plot the gap: visual against audio accuracy by label, the gaps as bars, and how often the switch is closed.

    Args:
        labels: label, audio, visual and gap, and switch_closed_fraction (nan: unknown).
        labels_per_group: Bars show all labels up to three times this number, else that many of each label group.

    Returns:
        The figure.
    """
    if labels.empty:
        return placeholder("There is no label that both models of the gap answered.")
    selected = labels
    if len(labels) > 3 * labels_per_group:
        groups = group_labels(labels, labels_per_group)
        selected = labels[labels["label"].isin([label for group in groups.values() for label in group])]
    selected = selected.sort_values(["gap", "label"], ascending=[False, True])
    height = max(4.6, 0.9 + 0.19 * len(selected))
    figure, axes = make_axes(10.5, height, 1, 3, width_ratios=[1.15, 1, 0.32])
    scatter_axes, bar_axes, switch_axes = axes[0]
    _draw_gap_scatter(scatter_axes, labels)
    _draw_gap_bars(bar_axes, selected)
    scope = "All labels" if len(selected) == len(labels) else f"{len(selected)} labels of the three groups"
    bar_axes.set_title(f"{scope}; orange: visual better", fontsize=9)
    _draw_switch_column(switch_axes, selected["switch_closed_fraction"])
    for column in (bar_axes, switch_axes):
        column.set_ylim(len(selected) - 0.3, -0.7)
        column.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
        format_percent_axis(column.xaxis)
    return figure


def _draw_gap_scatter(axes: Axes, labels: pd.DataFrame) -> None:
    """Draw one dot per label, colored by the switch's closed fraction; gray where it is unknown."""
    jitter = scatter_jitter(len(labels))
    x, y, closed = labels["audio"] + jitter[0], labels["visual"] + jitter[1], labels["switch_closed_fraction"]
    axes.plot([0, 1], [0, 1], color=GUIDE_COLOR, linewidth=1, zorder=1)
    unknown = closed.isna()
    style: dict[str, Any] = {"edgecolors": TEXT_COLOR, "linewidths": 0.5, "zorder": 2, "s": 30}
    axes.scatter(x[unknown], y[unknown], color=GUIDE_COLOR, **style)
    axes.scatter(x[~unknown], y[~unknown], c=closed[~unknown], cmap="cividis", vmin=0, vmax=1, **style)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="Audio accuracy", ylabel="Visual accuracy")
    axes.set_title(f"All {len(labels)} labels; yellow: switch closed", fontsize=9)
    format_percent_axis(axes.xaxis)
    format_percent_axis(axes.yaxis)


def _draw_gap_bars(axes: Axes, labels: pd.DataFrame) -> None:
    position = np.arange(len(labels))
    colors = np.where(labels["gap"] > 0, MODALITY_COLORS["visual"], MODALITY_COLORS["audio"])
    axes.barh(position, labels["gap"], 0.72, color=colors)
    is_zero = (labels["gap"] == 0).to_numpy()
    axes.scatter(np.zeros(is_zero.sum()), position[is_zero], s=14, color=MODALITY_COLORS["audio"])  # visible zeros
    axes.axvline(0, color=ZERO_COLOR, linewidth=0.8)
    axes.set_yticks(position, [shorten(label, 30, 1) for label in labels["label"]], fontsize=7.5)
    axes.set_xlabel("Visual minus audio accuracy")


def _draw_switch_column(axes: Axes, closed: pd.Series) -> None:
    position = np.arange(len(closed))
    axes.hlines(position, 0, closed, color=GUIDE_COLOR, linewidth=1)
    axes.scatter(
        closed, position, s=18, c=closed, cmap="cividis", vmin=0, vmax=1, edgecolors=TEXT_COLOR, linewidths=0.5
    )
    axes.set(xlim=(-0.06, 1.06), xlabel="Switch closed", xticks=[0, 0.5, 1], yticks=[])
    if closed.isna().all():
        axes.text(0.5, 0.5, "unknown", rotation=90, ha="center", va="center", transform=axes.transAxes)
