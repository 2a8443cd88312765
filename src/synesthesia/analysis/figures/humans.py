"""The figure of humans beside models: both gaps label by label, and how long people took."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from synesthesia.analysis.figures.paper import (
    GRID_COLOR,
    MODALITY_COLORS,
    TEXT_COLOR,
    format_percent_axis,
    lighten,
    make_axes,
    placeholder,
    shorten,
    with_style,
)
from synesthesia.analysis.human_tables import AUDIO_BETTER, TIE, VISUAL_BETTER

GROUP_COLORS = {AUDIO_BETTER: MODALITY_COLORS["audio"], TIE: "#777777", VISUAL_BETTER: MODALITY_COLORS["visual"]}


@with_style
def plot_human_gaps(labels: pd.DataFrame, response_times: list[dict], names: tuple[str, str], caption: str) -> Figure:
    """Two gaps against each other, label by label, and response times.

    `labels` as `humans.labels` makes it; `times`: title, sense, seconds (array); `names`: whose gap lies on x and y;
    `told`: the correlation in words.
    """
    if labels.empty and not response_times:
        return placeholder("No label has been judged by both senses, and no response time was kept.")
    height = max(4.6, 1.3 + 0.19 * len(labels))
    figure, axes = make_axes(10.5, height, 1, 3, width_ratios=[1.1, 1, 0.75])
    against, bars, clock = axes[0]
    _draw_scatter(against, labels, names, caption)
    _draw_dumbbells(bars, labels, names)
    _draw_response_times(clock, response_times)
    return figure


def _draw_placeholder(axis, message: str) -> None:
    axis.axis("off")
    axis.text(
        0.5, 0.5, message, ha="center", va="center", color=TEXT_COLOR, fontsize=8, transform=axis.transAxes, wrap=True
    )


def _draw_scatter(axis, labels: pd.DataFrame, names: tuple[str, str], caption: str) -> None:
    if labels.empty:
        return _draw_placeholder(axis, "No label was judged by both.")
    dots = np.random.default_rng(0).uniform(-0.008, 0.008, (2, len(labels)))  # equal labels stay visible
    axis.axhline(0, color=GRID_COLOR, linewidth=1, zorder=1)
    axis.axvline(0, color=GRID_COLOR, linewidth=1, zorder=1)
    for regime, colour in GROUP_COLORS.items():
        mine = (labels["regime"] == regime).to_numpy()
        axis.scatter((labels["models_gap"] + dots[0])[mine], (labels["compared_gap"] + dots[1])[mine], s=32,
                     color=colour, edgecolors=TEXT_COLOR, linewidths=0.5, label=f"{regime} ({mine.sum()})")  # fmt: skip
    axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel=f"{names[0]}: visual minus audio",
             ylabel=f"{names[1]}: visual minus audio")  # fmt: skip
    axis.set_title(caption, fontsize=9)
    axis.legend(fontsize=7.5, loc="upper left", title="For the models", title_fontsize=7.5)
    format_percent_axis(axis.xaxis)
    format_percent_axis(axis.yaxis)


def _draw_dumbbells(axis, labels: pd.DataFrame, names: tuple[str, str]) -> None:
    if labels.empty:
        return _draw_placeholder(axis, "No label was judged by both.")
    place = np.arange(len(labels))
    colours = labels["regime"].map(GROUP_COLORS)
    axis.hlines(place, labels["models_gap"], labels["compared_gap"], color=GRID_COLOR, linewidth=1.5)
    axis.scatter(labels["models_gap"], place, s=20, color=colours, label=names[0])
    axis.scatter(labels["compared_gap"], place, s=26, marker="D", facecolors="white", edgecolors=colours,
                 linewidths=1.3, label=names[1])  # fmt: skip
    axis.axvline(0, color="#888888", linewidth=0.8)
    axis.set_yticks(place, [shorten(label, 26, 1) for label in labels["label"]], fontsize=7.5)
    axis.set(xlim=(-1.05, 1.05), ylim=(len(labels) - 0.3, -0.7), xlabel="Visual minus audio accuracy")
    axis.set_title(f"dot: {names[0]}, diamond: {names[1]}", fontsize=9)
    axis.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    format_percent_axis(axis.xaxis)


def _draw_response_times(axis, response_times: list[dict]) -> None:
    if not response_times:
        return _draw_placeholder(axis, "No response time was kept.")
    drawn = axis.boxplot([t["seconds"] for t in response_times], widths=0.55, patch_artist=True, whis=(5, 95), showfliers=False,
                         medianprops={"color": TEXT_COLOR})  # fmt: skip
    for box, one in zip(drawn["boxes"], response_times, strict=True):
        box.set(
            facecolor=lighten(MODALITY_COLORS[one["sense"]], 2), edgecolor=MODALITY_COLORS[one["sense"]], hatch="////"
        )
    axis.set_xticks(range(1, len(response_times) + 1), [shorten(t["title"], 9, 4) for t in response_times], fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("Seconds to answer")
    axis.set_title("Median, quartiles, 5 to 95 %", fontsize=9)
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.6)
