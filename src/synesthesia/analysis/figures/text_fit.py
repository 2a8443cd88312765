"""Text that fits: titles and labels of any length and script, shortened and wrapped by their printed width."""

from __future__ import annotations

import functools
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font


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
        while count_columns(last) > width - 1:
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
    if not font.get_char_index(ord(character)) or count_columns(character) == 2:
        return 1.0
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


@functools.cache
def _load_font() -> FT2Font:
    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(100, 72)
    return font


def count_columns(text: str) -> int:
    """Count characters as a terminal does: wide ones twice, combining ones not at all."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def _wrap_characters(text: str, width: int) -> list[str]:
    if count_columns(text) == len(text):
        return textwrap.wrap(text, width) or [text]
    return _wrap(text, lambda line: count_columns(line) <= width) or [text]


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
