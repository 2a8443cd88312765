"""The paper's figures, from tables alone: Figure 1, the gap, Figure 3 and Table 2 as bars.

matplotlib's object interface on Agg, no global state: each function takes data frames and returns a Figure, `save`
writes it as PNG and SVG with the same bytes for the same figure. Colours are Okabe and Ito's (2008), told apart by
the colour-blind; a hue is a sense, hatching is a human, a paler tone is another model of the same sense.
"""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from synesthesia.distillation.gap import group_labels

MODALITY_COLORS = {"audio": "#0072B2", "visual": "#D55E00", "audio-visual": "#009E73"}
BEFORE_COLOR, AFTER_COLOR, TEACHER_COLOR = MODALITY_COLORS["audio"], "#56B4E9", MODALITY_COLORS["visual"]
TEXT_COLOR, GRID_COLOR = "#222222", "#BBBBBB"
STYLE = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9,
    "figure.titlesize": 10,
    "text.parse_math": False,  # a label may contain a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
}


def with_style(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house's style, whatever the caller's is, and lay out once, so that all formats agree."""

    @functools.wraps(draw)
    def within(*given, **named) -> Figure:
        with rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a label in a script that DejaVu lacks
            figure = draw(*given, **named)
            ConstrainedLayoutEngine().execute(figure)
            return figure

    return within


def make_axes(
    width: float, height: float, rows: int = 1, columns: int = 1, **subplot_options
) -> tuple[Figure, np.ndarray]:
    """A figure in inches with a 2-D array of axes."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **subplot_options)


def encode_figure(figure: Figure, name: str, fmt: str) -> bytes:
    """The figure as `png` or `svg` bytes; `name` salts the ids in the SVG, so two on one page do not clash."""
    style = STYLE | {"svg.hashsalt": name}
    metadata = {"Date": None, "Creator": None} if fmt == "svg" else {"Software": None}
    stream = io.BytesIO()
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format=fmt, dpi=144, metadata=metadata)
    return stream.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")  # SVG: where it lacks


def watermark(figure: Figure, text: str) -> Figure:
    """Write a word across a finished figure, so that a picture cut out of a report still says it."""
    figure.text(0.5, 0.5, text, fontsize=44, rotation=20, ha="center", va="center", color="#CC0000", alpha=0.35,
                fontweight="bold", zorder=10)  # fmt: skip
    return figure


@with_style
def placeholder(message: str) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    figure, axes = make_axes(7, 1.2)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, textwrap.fill(message, 90), ha="center", va="center", color=TEXT_COLOR)
    return figure


def shorten(label: str, width: int = 16, max_lines: int = 2) -> str:
    """A label on two lines at most, cut with an ellipsis."""
    parts = textwrap.wrap(label, width) or [label]
    return "\n".join(
        [*parts[: max_lines - 1], parts[max_lines - 1][: width - 1] + "…"] if len(parts) > max_lines else parts
    )


def lighten(color: str, steps: int) -> tuple[float, float, float]:
    """The same hue, `step` times a third nearer to white."""
    share = 1 - (2 / 3) ** steps
    return tuple(c + (1 - c) * share for c in to_rgb(color))


def format_percent_axis(axis) -> None:
    """Ticks of an axis in [0, 1] as per cent."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def draw_grouped_bars(axes: Axes, frame: pd.DataFrame, styles: dict[str, dict], slots: int) -> None:
    """Bars of `frame` [labels, series] in [0, 1] side by side; `slots` groups are reserved, so rows of axes align."""
    width = 0.82 / max(len(frame.columns), 1)
    for index, name in enumerate(frame.columns):
        offset = (index - (len(frame.columns) - 1) / 2) * width
        place, height = np.arange(len(frame)) + offset, frame[name].to_numpy(float)
        axes.bar(place, np.nan_to_num(height), width * 0.94, label=name, linewidth=0, **styles.get(name, {}))
        for x in place[np.isfinite(height) & (height < 0.005)]:  # a bar of nothing still shows that it was asked
            axes.plot([x - width * 0.4, x + width * 0.4], [0, 0], color=styles[name]["color"], linewidth=2.5)
    axes.set_xlim(-0.6, max(slots, 1) - 0.4)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(len(frame)), [shorten(label) for label in frame.index], rotation=35, ha="right", fontsize=8,
                    rotation_mode="anchor")  # fmt: skip
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.6)
    format_percent_axis(axes.yaxis)
    if frame.empty:
        axes.text(0.01, 0.5, "No label of this kind in this study.", transform=axes.transAxes, color=TEXT_COLOR)


@with_style
def plot_figure1(accuracy: pd.DataFrame, respondents: list[dict], label_groups: dict[str, list[str]]) -> Figure:
    """Figure 1: label-wise accuracy of everybody, in three rows.

    `accuracy` [labels, respondents' titles] in [0, 1]; `respondents` in order: title, sense, human (bool); `rows` as
    `regimes` makes them. The legend gives each one's accuracy over the labels shown, as the paper's caption does.
    """
    shown = [label for labels in label_groups.values() for label in labels]
    if not shown or accuracy.empty:
        return placeholder(
            "There is no label that both models of the gap have answered, so Figure 1 has nothing to show."
        )
    styles, steps, names = {}, {}, {}
    for person in respondents:
        key = (person["sense"], person["human"])
        step = steps[key] = steps.get(key, -1) + 1
        mean = accuracy.loc[shown, person["title"]].mean()
        name = names[person["title"]] = f"{person['title']}: {100 * mean:.1f} %"
        colour = MODALITY_COLORS[person["sense"]]
        styles[name] = {"color": lighten(colour, step + (2 if person["human"] else 0))}
        if person["human"]:
            styles[name] |= {"hatch": "////", "edgecolor": colour}
    slots = max(len(labels) for labels in label_groups.values())
    figure, axes = make_axes(10.5, 7.6, 3)
    for axis, (title, labels) in zip(axes[:, 0], label_groups.items(), strict=True):
        frame = accuracy.loc[labels, [p["title"] for p in respondents]].rename(columns=names)
        draw_grouped_bars(axis, frame, styles, slots)
        axis.set_title(title, fontweight="bold", color=TEXT_COLOR)
    handles = next(a for a in axes[:, 0] if a.containers).get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(3, len(respondents)), fontsize=8.5)
    figure.supylabel("Accuracy", fontsize=9)
    return figure


@with_style
def plot_figure3(
    trained_labels: pd.DataFrame, unseen_labels: pd.DataFrame, titles: dict[str, str], a_row: int
) -> Figure:
    """Figure 3: the student before and after, and its teacher, label by label; two rows of seen, two of unseen labels.

    `seen`, `unseen`: label, before, after, teacher in [0, 1], already in the order to show; `titles` names the three
    series; at most `a_row` labels a row.
    """
    rows = []
    for title, frame in (
        ("Heard in training, most challenging first", trained_labels),
        ("Unseen labels", unseen_labels),
    ):
        pieces = [frame[start : start + a_row] for start in (0, a_row)]
        rows += [(title if not i else "", piece) for i, piece in enumerate(pieces) if i == 0 or len(piece)]
    if trained_labels.empty and unseen_labels.empty:
        return placeholder("There is no answer of a distilled audio student, so Figure 3 has nothing to show.")
    names = [titles[key] for key in ("before", "after", "teacher")]
    styles = dict(zip(names, ({"color": BEFORE_COLOR}, {"color": AFTER_COLOR}, {"color": TEACHER_COLOR}), strict=True))
    figure, axes = make_axes(10.5, 0.7 + 2.05 * len(rows), len(rows))
    for axis, (title, frame) in zip(axes[:, 0], rows, strict=True):
        bars = frame.set_index("label")[["before", "after", "teacher"]].set_axis(names, axis=1)
        draw_grouped_bars(axis, bars, styles, min(a_row, max(len(trained_labels), len(unseen_labels))))
        axis.set_title(title, fontweight="bold", color=TEXT_COLOR)
    handles = next(a for a in axes[:, 0] if a.containers).get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, fontsize=8.5)
    figure.supylabel("Accuracy", fontsize=9)
    return figure


@with_style
def plot_gap(labels: pd.DataFrame, a_regime: int) -> Figure:
    """Every label's audio against visual accuracy, and the largest gaps as bars; colour: the switch's closed share.

    `labels`: label, audio, visual, gap, switch_closed (nan: unknown). Bars show all labels up to three times
    `a_regime`, else the `regimes`.
    """
    if labels.empty:
        return placeholder("There is no label that both models of the gap have answered.")
    chosen = labels
    if len(labels) > 3 * a_regime:
        chosen = labels[labels["label"].isin([x for row in group_labels(labels, a_regime).values() for x in row])]
    chosen = chosen.sort_values(["gap", "label"], ascending=[False, True])
    height = max(4.6, 0.9 + 0.19 * len(chosen))
    figure, axes = make_axes(10.5, height, 1, 3, width_ratios=[1.15, 1, 0.32])
    left, bars, closed = axes[0]
    _draw_gap_scatter(left, labels)
    place = np.arange(len(chosen))
    colours = np.where(chosen["gap"] > 0, MODALITY_COLORS["visual"], MODALITY_COLORS["audio"])
    bars.barh(place, chosen["gap"], 0.72, color=colours)
    equal = (chosen["gap"] == 0).to_numpy()
    bars.scatter(
        np.zeros(equal.sum()), place[equal], s=14, color=MODALITY_COLORS["audio"]
    )  # a gap of nothing still shows
    bars.axvline(0, color="#888888", linewidth=0.8)
    bars.set_yticks(place, [shorten(label, 30, 1) for label in chosen["label"]], fontsize=7.5)
    bars.set_xlabel("Visual minus audio accuracy")
    kind = "All labels" if len(chosen) == len(labels) else f"{len(chosen)} labels of the three kinds"
    bars.set_title(f"{kind}: orange, the eyes lead", fontsize=9)
    closed.hlines(place, 0, chosen["switch_closed"], color=GRID_COLOR, linewidth=1)
    closed.scatter(chosen["switch_closed"], place, s=18, c=chosen["switch_closed"], cmap="cividis", vmin=0, vmax=1,
                   edgecolors=TEXT_COLOR, linewidths=0.5)  # fmt: skip
    closed.set(xlim=(-0.06, 1.06), xlabel="Switch closed", xticks=[0, 0.5, 1], yticks=[])
    if chosen["switch_closed"].isna().all():
        closed.text(0.5, 0.5, "not known", rotation=90, ha="center", va="center", transform=closed.transAxes)
    for axis in (bars, closed):
        axis.set_ylim(len(chosen) - 0.3, -0.7)
        axis.grid(axis="x", color="#E3E3E3", linewidth=0.6)
        format_percent_axis(axis.xaxis)
    return figure


def _draw_gap_scatter(axis: Axes, labels: pd.DataFrame) -> None:
    """Audio against visual accuracy, a dot a label, coloured by the switch's closed share; grey where unknown."""
    dots = np.random.default_rng(0).uniform(-0.008, 0.008, (2, len(labels)))  # equal labels stay visible
    x, y, share = labels["audio"] + dots[0], labels["visual"] + dots[1], labels["switch_closed"]
    axis.plot([0, 1], [0, 1], color=GRID_COLOR, linewidth=1, zorder=1)
    unknown = share.isna()
    style = {"edgecolors": TEXT_COLOR, "linewidths": 0.5, "zorder": 2, "s": 30}
    axis.scatter(x[unknown], y[unknown], color=GRID_COLOR, **style)
    axis.scatter(x[~unknown], y[~unknown], c=share[~unknown], cmap="cividis", vmin=0, vmax=1, **style)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="Audio accuracy", ylabel="Visual accuracy")
    axis.set_title(f"All {len(labels)} labels; yellow: the switch is closed", fontsize=9)
    format_percent_axis(axis.xaxis)
    format_percent_axis(axis.yaxis)
