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
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter

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
    is_unusual = any("…" in text[:-1] or _count_columns(text) != len(text) for text in texts)
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


def shorten(label: str, width: int = 16, max_lines: int = 2) -> str:
    """Wrap a label and cut it with an ellipsis.

    Args:
        label: Label.
        width: Maximum number of characters per line; wide ones, such as Chinese, count twice.
        max_lines: Maximum number of lines.

    Returns:
        The wrapped label.
    """
    lines = _wrap_characters(label, width)
    if len(lines) > max_lines:
        last = lines[max_lines - 1]
        while _count_columns(last) > width - 1:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last + "…"]
    return "\n".join(lines)


def shorten_title(title: str, width: int, max_lines: int, font_size: float) -> str:
    """Wrap a respondent's title, and leave out its middle if it is too long: titles differ at both ends.

    Args:
        title: Title in any script.
        width: Maximum number of characters per line.
        max_lines: Maximum number of lines.
        font_size: Font size in points.

    Returns:
        The wrapped title.
    """
    lines, points = _wrap_characters(title, width), 0.62 * width * font_size
    if len(lines) <= max_lines and max(measure_text(line, font_size) for line in lines) <= 1.1 * points:
        return "\n".join(lines)
    return fit_text(title, points, font_size, max_lines)


def fit_text(text: str, points: float, font_size: float, max_lines: int) -> str:
    """Wrap a text by its printed width, and leave out its middle if it is too long.

    Args:
        text: Text in any script; it stays as it is if it fits into one line.
        points: Maximum width of a line in points.
        font_size: Font size in points.
        max_lines: Maximum number of lines.

    Returns:
        The wrapped text.
    """
    text = " ".join(text.split())
    lines = _wrap_points(text, points, font_size)
    n_kept = len(text)
    while len(lines) > max_lines and n_kept > 1:
        n_kept = min(n_kept - 1, int(n_kept * max(0.5, max_lines / len(lines))))
        n_end = n_kept // 2
        shortened = f"{text[: n_kept - n_end].rstrip()}…{text[len(text) - n_end :].lstrip()}"
        lines = _wrap_points(shortened, points, font_size)
    return "\n".join(lines)


def shorten_titles(
    titles: Iterable[str], keys: Iterable[str], width: int, max_lines: int, font_size: float
) -> list[str]:
    """Shorten several titles; those that become equal are replaced by their keys.

    Args:
        titles: Titles in any script.
        keys: Their keys in params.yaml.
        width: Maximum number of characters per line.
        max_lines: Maximum number of lines.
        font_size: Font size in points.

    Returns:
        The wrapped titles or keys, no two of them equal.
    """
    shortened = [shorten_title(title, width, max_lines, font_size) for title in titles]
    counts = Counter(shortened)
    return make_unique(
        shorten_title(key, width, max_lines, font_size) if counts[title] > 1 else title
        for title, key in zip(shortened, keys, strict=True)
    )


def make_unique(names: Iterable[str]) -> list[str]:
    """Number equal names: "a", "a (2)", "a (3)".

    Args:
        names: Names.

    Returns:
        Names in the same order, no two of them equal.
    """
    unique: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in unique:
            number += 1
            candidate = f"{name} ({number})"
        unique.append(candidate)
    return unique


def measure_text(text: str, font_size: float) -> float:
    """Measure the printed width of a line.

    Args:
        text: Line; characters that DejaVu lacks count as another font prints them, about as wide as high.
        font_size: Font size in points.

    Returns:
        Width in points.
    """
    return font_size * sum(map(_measure_character, text))


@functools.lru_cache(maxsize=4096)
def _measure_character(character: str) -> float:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    font = _load_font()
    if not font.get_char_index(ord(character)) or _count_columns(character) == 2:
        return 1.0
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


@functools.cache
def _load_font() -> FT2Font:
    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(100, 72)
    return font


def _count_columns(text: str) -> int:
    """Count characters as a terminal does: wide ones twice, combining ones not at all."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def _wrap_characters(text: str, width: int) -> list[str]:
    if _count_columns(text) == len(text):
        return textwrap.wrap(text, width) or [text]
    return _wrap(text, lambda line: _count_columns(line) <= width) or [text]


def _wrap_points(text: str, points: float, font_size: float) -> list[str]:
    return _wrap(text, lambda line: measure_text(line, font_size) <= points) or [text]


def _wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Fill lines with words; a word that fits into no line is broken between characters."""
    lines, line = [], ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if fits(joined):
            line = joined
            continue
        if line:
            lines.append(line)
        line = ""
        for character in word:
            if line and not fits(line + character):
                lines.append(line)
                line = ""
            line += character
    return [*lines, line] if line else lines


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
