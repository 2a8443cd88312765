"""Figures beyond the paper's: its Table 2 as bars, letters' position bias, and how far the switch can be trusted."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from synesthesia import stats
from synesthesia.analysis import formatting
from synesthesia.analysis.figures.paper import (
    GRID_COLOR,
    MODALITY_COLORS,
    TEXT_COLOR,
    format_percent_axis,
    make_axes,
    placeholder,
    shorten,
    with_style,
)


@with_style
def plot_ablation(table2: pd.DataFrame, original_models: pd.DataFrame, confidence: float) -> Figure:
    """Table 2 as points with intervals: analysis and test, the paper's figure beside, the originals as lines.

    `table2` as `tabulate.table2` makes it; `originals`: respondent, title, sense, analysis_accuracy, test_accuracy.
    One row of panels a student.
    """
    if table2.empty:
        return placeholder("No distilled student has answered, so there are no settings to compare.")
    students = list(table2["student"].unique())
    heights = [int((table2["student"] == s).sum()) for s in students]
    size = (10.5, 1.3 + 0.9 * len(students) + 0.36 * sum(heights))
    figure, axes = make_axes(*size, len(students), 2, height_ratios=[h + 1 for h in heights], sharex=True)
    for row, student in enumerate(students):
        part = table2[table2["student"] == student]
        for column, split in enumerate(("analysis", "test")):
            _draw_ablation_panel(axes[row, column], part, split, original_models[original_models["respondent"].isin(
                [student, part["teacher"].iloc[0]])])  # fmt: skip
            axes[row, column].set_title(_student_title(original_models, student) + f", {split}")
        axes[row, 1].set_yticklabels([])
    marks = {
        f"this study, {100 * confidence:g} % interval": ("o", MODALITY_COLORS["audio"]),
        "the paper, full size": ("D", "white"),
    }
    handles = [
        axes[0, 0].plot([], [], m, color=c, markeredgecolor=TEXT_COLOR, linestyle="")[0] for m, c in marks.values()
    ]
    figure.legend(handles, list(marks), loc="outside lower center", ncols=2)
    return figure


def _student_title(original_models: pd.DataFrame, key: str) -> str:
    found = original_models[original_models["respondent"] == key]["title"]
    return f"{found.iloc[0] if len(found) else key} distilled"


def _draw_ablation_panel(axis, part: pd.DataFrame, split: str, reference_models: pd.DataFrame) -> None:
    place = np.arange(len(part))
    middle = part[f"{split}_accuracy"].to_numpy(float)
    ends = np.array([part[f"{split}_accuracy_{end}"].to_numpy(float) for end in ("low", "high")])
    axis.hlines(place, ends[0], ends[1], color=MODALITY_COLORS["audio"], linewidth=2.2)
    axis.plot(middle, place, "o", color=MODALITY_COLORS["audio"], markeredgecolor=TEXT_COLOR, markersize=7)
    axis.plot(part[f"paper_{split}_accuracy"].to_numpy(float), place + 0.22, "D", color="white", markeredgecolor=TEXT_COLOR,
              markersize=5)  # fmt: skip
    for line in reference_models.to_dict("records"):
        value = line[f"{split}_accuracy"]
        if np.isfinite(value):
            axis.axvline(value, color=MODALITY_COLORS[line["sense"]], linestyle="--", linewidth=1.1)
            axis.annotate(f"{line['title']}", (value, 1), xycoords=("data", "axes fraction"), rotation=90, fontsize=6.5,
                          color=MODALITY_COLORS[line["sense"]], xytext=(2, -2), textcoords="offset points", va="top")  # fmt: skip
    axis.set_yticks(place, [shorten(title, 40, 1) for title in part["title"]])
    axis.set_ylim(len(part) - 0.4, -0.6)
    axis.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    format_percent_axis(axis.xaxis)


@with_style
def plot_position_bias(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Letters' position bias out of `tabulate.positions`: chosen minus true share, and accuracy by true position."""
    if table.empty:
        return placeholder("There are no analysis answers, so letters' position bias is unknown.")
    table = table.assign(bias=table["chosen_share"] - table["truth_share"])
    names = list(table["respondent"].unique())
    figure, axes = make_axes(10.5, 1.0 + 0.32 * len(names), 1, 2)
    reach = max(0.05, float(table["bias"].abs().max()))
    _draw_heatmap(
        axes[0, 0], table, "bias", names, {"cmap": "PuOr", "vmin": -reach, "vmax": reach}, formatting.format_points
    )
    _draw_heatmap(
        axes[0, 1],
        table,
        "accuracy",
        names,
        {"cmap": "cividis", "vmin": 0, "vmax": 1},
        lambda share: f"{100 * share:.0f}",
    )
    axes[0, 0].set_yticks(range(len(names)), [shorten(titles.get(n, n), 44) for n in names], fontsize=7.5)
    axes[0, 1].set_yticks([])
    axes[0, 0].set_title("Chosen minus true share, points", fontsize=9)
    axes[0, 1].set_title("Accuracy where the truth stands at this letter, %", fontsize=9)
    return figure


def _draw_heatmap(
    axis, table: pd.DataFrame, value_column: str, respondents: list[str], color_options: dict, formatter
) -> None:
    """A square a respondent (row) and letter (column), with its figure in it."""
    letters = sorted(table["letter"].unique())
    grid = (
        table.pivot(index="respondent", columns="letter", values=value_column).loc[respondents, letters].to_numpy(float)
    )
    axis.pcolormesh(np.arange(len(letters) + 1) - 0.5, np.arange(len(respondents) + 1) - 0.5, grid, edgecolor="white",
                    linewidth=1, **color_options)  # fmt: skip
    middle, half = (
        (color_options["vmax"] + color_options["vmin"]) / 2,
        (color_options["vmax"] - color_options["vmin"]) / 2,
    )
    for row, column in np.argwhere(np.isfinite(grid)):
        number = grid[row, column]
        dark = number < middle if value_column == "accuracy" else abs(number - middle) > 0.75 * half
        axis.text(column, row, formatter(number), ha="center", va="center", fontsize=6.5,
                  color="white" if dark else TEXT_COLOR)  # fmt: skip
    axis.set_xticks(range(len(letters)), letters)
    axis.set_ylim(len(respondents) - 0.5, -0.5)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


@with_style
def plot_switch(predictions: pd.DataFrame, history: pd.DataFrame | None, confidence: float) -> Figure:
    """ROC curve, reliability and training history of the switch.

    `predictions`: visual_better_probability in [0, 1], target, part; `history`: epoch, train_loss, validation_loss,
    validation_balanced_accuracy, or None.
    """
    if predictions.empty:
        return placeholder("The switch's predictions are missing.")
    figure, axes = make_axes(10.5, 3.7, 1, 3)
    have = set(predictions["part"])
    parts = [p for p in ("finetune", "validation") if p in have] or sorted(have)
    colours = dict(
        zip(parts, (MODALITY_COLORS["audio"], MODALITY_COLORS["visual"], MODALITY_COLORS["audio-visual"]), strict=False)
    )
    curve_axis, trust_axis, history_axis = axes[0]
    for part in parts:
        frame = predictions[predictions["part"] == part]
        score, target = frame["visual_better_probability"].to_numpy(), frame["target"].to_numpy()
        curve = stats.roc_curve(score, target)
        if curve:
            name = f"{part}: area {curve[2]:.3f}"
            curve_axis.plot(curve[0], curve[1], color=colours[part], label=name, drawstyle="default")
        else:
            curve_axis.plot([], [], color=colours[part], label=f"{part}: only one true answer, no curve")
        bins = stats.calibration_curve(score, target)
        shares = [stats.wilson(positive, total, confidence) for _, positive, total in bins]
        x = [b[0] for b in bins]
        trust_axis.vlines(x, [s.low for s in shares], [s.high for s in shares], color=colours[part], linewidth=1)
        trust_axis.plot(x, [s.estimate for s in shares], "o-", color=colours[part], markersize=4, label=part)
    for axis in (curve_axis, trust_axis):
        axis.plot([0, 1], [0, 1], color=GRID_COLOR, linewidth=1, zorder=0)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.legend(loc="lower right", fontsize=7.5)
        format_percent_axis(axis.yaxis)
        format_percent_axis(axis.xaxis)
    curve_axis.set(xlabel="Wrongly closed", ylabel="Rightly closed", title="Which mistakes at which threshold")
    trust_axis.set(xlabel="Probability it gives", ylabel="How often it is true", title="Can its certainty be believed?")
    history_axis.set(xlabel="Epoch", title="How it learnt")
    columns = ("train_loss", "validation_loss", "validation_balanced_accuracy")
    drawn = [c for c in columns if history is not None and c in history]
    for name, line in zip(columns, ("-", "--", "-"), strict=True):
        if name in drawn:
            colour = MODALITY_COLORS["audio-visual"] if name.endswith("accuracy") else MODALITY_COLORS["audio"]
            history_axis.plot(history["epoch"], history[name], line, color=colour, label=name.replace("_", " "))
    if drawn:
        history_axis.set_ylim(bottom=0)
        history_axis.legend(fontsize=7.5)
    else:
        history_axis.axis("off")
        history_axis.text(0.5, 0.5, "No training history.", ha="center", transform=history_axis.transAxes)
    return figure
