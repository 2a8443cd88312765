"""Number formatting for the report: percentages, points, intervals and p values; a missing value is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from synesthesia.stats import Interval

MISSING = "–"


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def format_percent(value: float | None) -> str:
    """Format a proportion as a percentage with one decimal: 0.719 -> "71.9".

    Args:
        value: Proportion; None or nan where there is none.

    Returns:
        The text, or MISSING.
    """
    return MISSING if _is_missing(value) else f"{100 * cast(float, value):.1f}"


def format_points(value: float | None) -> str:
    """Format a difference of proportions in percentage points: 0.207 -> "+20.7".

    Args:
        value: Difference; None or nan where there is none.

    Returns:
        The text with a minus sign (not a hyphen) and no sign on zero, or MISSING.
    """
    return MISSING if _is_missing(value) else _format_sign(f"{100 * cast(float, value):+.1f}")


def format_signed(value: float | None) -> str:
    """Format a correlation or kappa with two decimals: 0.6789 -> "+0.68".

    Args:
        value: Number; None or nan where there is none.

    Returns:
        The text with a minus sign (not a hyphen) and no sign on zero, or MISSING.
    """
    return MISSING if _is_missing(value) else _format_sign(f"{value:+.2f}")


def _format_sign(text: str) -> str:
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def format_seconds(value: float | None) -> str:
    """Format seconds with one decimal: 6.432 -> "6.4".

    Args:
        value: Seconds; None or nan where there is none.

    Returns:
        The text, or MISSING.
    """
    return MISSING if _is_missing(value) else f"{value:.1f}"


NumberFormatter = Callable[[float | None], str]


def format_interval(low: float | None, high: float | None, formatter: NumberFormatter = format_percent) -> str:
    """Format the bounds of an interval: "[70.1, 73.4]".

    Args:
        low: Lower bound.
        high: Upper bound.
        formatter: Format of one bound.

    Returns:
        The text; empty where a bound is missing or infinite.
    """
    return "" if _is_missing(low) or _is_missing(high) else f"[{formatter(low)}, {formatter(high)}]"


def format_estimate(value: Interval, kind: str) -> tuple[str, str]:
    """Format an estimate with its unit, and its interval: ("+20.7 points", "[+18.0, +23.1]").

    Args:
        value: Estimate with its interval.
        kind: "percent", "points" or "correlation".

    Returns:
        Texts of the estimate and of the interval.
    """
    formatter, unit = {
        "percent": (format_percent, " %"),
        "points": (format_points, " points"),
        "correlation": (format_signed, ""),
    }[kind]
    interval = format_interval(value.low, value.high, formatter)
    return formatter(value.estimate) + unit, interval or "too few data for an interval"


def format_p_value(value: float | None) -> str:
    """Format a p value with three decimals: 0.00004 -> "< 0.001".

    Args:
        value: P value; None or nan where there is none.

    Returns:
        The text, or MISSING.
    """
    if _is_missing(value):
        return MISSING
    return "< 0.001" if cast(float, value) < 0.001 else f"{value:.3f}"


def format_number(value: object) -> str:
    """Format a table cell: 1430 -> "1 430" with a narrow space; text stays as it is.

    Args:
        value: Number or text; None or nan where there is none.

    Returns:
        The text, or MISSING.
    """
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}".replace(",", "\u202f") if float(value).is_integer() else f"{value:.3f}"
