"""The figure of humans beside models: both gaps label by label, and how long people took."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from synesthesia.analysis.figures.paper import FAINT, HUES, INK, canvas, paler, percent_axis, say, short, styled
from synesthesia.analysis.human_tables import HEARD, PAR, SEEN

COLOURS = {HEARD: HUES["audio"], PAR: "#777777", SEEN: HUES["visual"]}


@styled
def gaps(labels: pd.DataFrame, times: list[dict], names: tuple[str, str], told: str) -> Figure:
    """Two gaps against each other, label by label, and response times.

    `labels` as `humans.labels` makes it; `times`: title, sense, seconds (array); `names`: whose gap lies on x and y;
    `told`: the correlation in words.
    """
    if labels.empty and not times:
        return say("No label has been judged by both senses, and no response time was kept.")
    height = max(4.6, 1.3 + 0.19 * len(labels))
    figure, axes = canvas(10.5, height, 1, 3, width_ratios=[1.1, 1, 0.75])
    against, bars, clock = axes[0]
    _scatter(against, labels, names, told)
    _dumbbells(bars, labels, names)
    _boxes(clock, times)
    return figure


def _nothing(axis, sentence: str) -> None:
    axis.axis("off")
    axis.text(0.5, 0.5, sentence, ha="center", va="center", color=INK, fontsize=8, transform=axis.transAxes, wrap=True)


def _scatter(axis, labels: pd.DataFrame, names: tuple[str, str], told: str) -> None:
    if labels.empty:
        return _nothing(axis, "No label was judged by both.")
    dots = np.random.default_rng(0).uniform(-0.008, 0.008, (2, len(labels)))  # equal labels stay visible
    axis.axhline(0, color=FAINT, linewidth=1, zorder=1)
    axis.axvline(0, color=FAINT, linewidth=1, zorder=1)
    for regime, colour in COLOURS.items():
        mine = (labels["regime"] == regime).to_numpy()
        axis.scatter((labels["models_gap"] + dots[0])[mine], (labels["compared_gap"] + dots[1])[mine], s=32,
                     color=colour, edgecolors=INK, linewidths=0.5, label=f"{regime} ({mine.sum()})")  # fmt: skip
    axis.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel=f"{names[0]}: visual minus audio",
             ylabel=f"{names[1]}: visual minus audio")  # fmt: skip
    axis.set_title(told, fontsize=9)
    axis.legend(fontsize=7.5, loc="upper left", title="For the models", title_fontsize=7.5)
    percent_axis(axis.xaxis)
    percent_axis(axis.yaxis)


def _dumbbells(axis, labels: pd.DataFrame, names: tuple[str, str]) -> None:
    if labels.empty:
        return _nothing(axis, "No label was judged by both.")
    place = np.arange(len(labels))
    colours = labels["regime"].map(COLOURS)
    axis.hlines(place, labels["models_gap"], labels["compared_gap"], color=FAINT, linewidth=1.5)
    axis.scatter(labels["models_gap"], place, s=20, color=colours, label=names[0])
    axis.scatter(labels["compared_gap"], place, s=26, marker="D", facecolors="white", edgecolors=colours,
                 linewidths=1.3, label=names[1])  # fmt: skip
    axis.axvline(0, color="#888888", linewidth=0.8)
    axis.set_yticks(place, [short(label, 26, 1) for label in labels["label"]], fontsize=7.5)
    axis.set(xlim=(-1.05, 1.05), ylim=(len(labels) - 0.3, -0.7), xlabel="Visual minus audio accuracy")
    axis.set_title(f"dot: {names[0]}, diamond: {names[1]}", fontsize=9)
    axis.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    percent_axis(axis.xaxis)


def _boxes(axis, times: list[dict]) -> None:
    if not times:
        return _nothing(axis, "No response time was kept.")
    drawn = axis.boxplot([t["seconds"] for t in times], widths=0.55, patch_artist=True, whis=(5, 95), showfliers=False,
                         medianprops={"color": INK})  # fmt: skip
    for box, one in zip(drawn["boxes"], times, strict=True):
        box.set(facecolor=paler(HUES[one["sense"]], 2), edgecolor=HUES[one["sense"]], hatch="////")
    axis.set_xticks(range(1, len(times) + 1), [short(t["title"], 9, 4) for t in times], fontsize=8)
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("Seconds to answer")
    axis.set_title("Median, quartiles, 5 to 95 %", fontsize=9)
    axis.grid(axis="y", color="#E3E3E3", linewidth=0.6)
