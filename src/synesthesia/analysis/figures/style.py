"""Shared style and drawing helpers of all figures.

matplotlib's object interface on Agg, without global state. `encode_figure` writes the same bytes for the same figure.
Colors are Okabe and Ito's (2008), distinguishable with color vision deficiency: a hue is a modality, hatching marks
humans, a lighter tone another model of the same modality.
"""

from __future__ import annotations

import functools
import io
import re
import textwrap
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter

from synesthesia.analysis.figures.text_fit import count_columns

MODALITY_COLORS = {"audio": "#0072B2", "visual": "#D55E00", "audio-visual": "#009E73"}
TEXT_COLOR, GUIDE_COLOR, GRID_COLOR, ZERO_COLOR = "#222222", "#BBBBBB", "#E3E3E3", "#888888"
PNG_DPI = 144
USUAL_OVERFLOW_PIXELS = 8
STYLE: dict[Any, Any] = {
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
    "svg.fonttype": "none",  # text stays text: small, searchable, accessible to screen readers
}

P = ParamSpec("P")


def with_style(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a plot function: apply STYLE, whatever the caller's rcParams, and run the layout once.

    A single layout gives all formats the same positions.

    Args:
        plot: Function that returns a figure.

    Returns:
        The decorated function.
    """

    @functools.wraps(plot)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a label in a script that DejaVu lacks
            figure = plot(*args, **kwargs)
            ConstrainedLayoutEngine().execute(figure)
            _fit_at_png_resolution(figure)
            return figure

    return wrapper


def _fit_at_png_resolution(figure: Figure) -> None:
    """Run the layout again where text, whose width depends on the resolution, leaves the PNG.

    The layout's own resolution is lower, so a few pixels are usual; figures of usual titles keep their layout.
    """
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    is_unusual = any("…" in text[:-1] or count_columns(text) != len(text) for text in texts)
    dpi = figure.dpi
    figure.set_dpi(PNG_DPI)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    margin = PNG_DPI * min(box.x0, box.y0, width - box.x1, height - box.y1)
    if margin < (0 if is_unusual else -USUAL_OVERFLOW_PIXELS):
        ConstrainedLayoutEngine().execute(figure)
    figure.set_dpi(dpi)


def make_axes(
    width: float, height: float, rows: int = 1, columns: int = 1, **subplot_options: Any
) -> tuple[Figure, np.ndarray]:
    """Create a figure with a grid of axes.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Number of rows.
        columns: Number of columns.
        **subplot_options: Further arguments of `Figure.subplots`.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **subplot_options)


def encode_figure(figure: Figure, name: str, fmt: str) -> bytes:
    """Encode a figure as a file without a date.

    Args:
        figure: Figure.
        name: Name of the figure; it salts the ids in the SVG, so that two figures on one page do not clash.
        fmt: "png" or "svg".

    Returns:
        The file's bytes.
    """
    metadata = {"Date": None, "Creator": None} if fmt == "svg" else {"Software": None}
    stream = io.BytesIO()
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": name}
    with rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format=fmt, dpi=PNG_DPI, metadata=metadata)
    content = stream.getvalue()
    if fmt == "svg":
        content = re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"", content)  # XML has no control characters
        content = content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")  # fallback fonts
    return content


def watermark(figure: Figure, text: str) -> Figure:
    """Write a word across a finished figure, so that a copied figure still carries it.

    Args:
        figure: Figure, modified in place.
        text: Word.

    Returns:
        The same figure.
    """
    figure.text(
        0.5,
        0.5,
        text,
        fontsize=44,
        rotation=20,
        ha="center",
        va="center",
        color="#CC0000",
        alpha=0.35,
        fontweight="bold",
        zorder=10,
    )
    return figure


@with_style
def placeholder(message: str) -> Figure:
    """Create a figure that states why there is nothing to draw.

    Args:
        message: Sentence.

    Returns:
        The figure.
    """
    figure, axes = make_axes(7, 1.2)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, textwrap.fill(message, 90), ha="center", va="center", color=TEXT_COLOR)
    return figure


def lighten(color: str, steps: int) -> tuple[float, float, float]:
    """Lighten a color at the same hue.

    Args:
        color: Any matplotlib color.
        steps: Number of steps, each a third of the remaining distance to white.

    Returns:
        Red, green and blue in [0, 1].
    """
    whiteness = 1 - (2 / 3) ** steps
    red, green, blue = (c + (1 - c) * whiteness for c in to_rgb(color))
    return red, green, blue


def format_percent_axis(axis: Axis) -> None:
    """Label the ticks of an axis in [0, 1] as percentages.

    Args:
        axis: x or y axis.
    """
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def scatter_jitter(n_points: int) -> np.ndarray:
    """Draw a fixed jitter that keeps equal points of a scatter plot visible.

    Args:
        n_points: Number of points.

    Returns:
        Offsets within ±0.008, shape (2, n_points); the same on every call.
    """
    return np.random.default_rng(0).uniform(-0.008, 0.008, (2, n_points))


def write_message(axes: Axes, message: str) -> None:
    """Replace empty axes by a sentence.

    Args:
        axes: Axes, switched off.
        message: Sentence.
    """
    axes.axis("off")
    axes.text(
        0.5, 0.5, message, ha="center", va="center", color=TEXT_COLOR, fontsize=8, transform=axes.transAxes, wrap=True
    )
