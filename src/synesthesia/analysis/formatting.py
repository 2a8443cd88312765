"""Figures as a person reads them: per cent and points with one decimal, intervals, p values; never "nan"."""

from __future__ import annotations

import math

from synesthesia.stats import Interval

MISSING = "–"


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def format_percent(value: float | None) -> str:
    """0.719 -> "71.9"."""
    return MISSING if _is_missing(value) else f"{100 * value:.1f}"


def format_points(value: float | None) -> str:
    """0.207 -> "+20.7"; a minus sign, not a hyphen; no sign on zero."""
    if _is_missing(value):
        return MISSING
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def format_signed(value: float | None) -> str:
    """0.6789 -> "+0.68", for correlations."""
    if _is_missing(value):
        return MISSING
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def format_seconds(value: float | None) -> str:
    """6.432 -> "6.4"."""
    return MISSING if _is_missing(value) else f"{value:.1f}"


def format_interval(low: float | None, high: float | None, formatter=format_percent) -> str:
    """The bracket of an interval, or nothing where it has no bounds."""
    return "" if _is_missing(low) or _is_missing(high) else f"[{formatter(low)}, {formatter(high)}]"


def format_estimate(value: Interval, kind: str) -> tuple[str, str]:
    """The estimate with its unit, and its bracket: ("+20.7 points", "[18.0, 23.1]")."""
    if kind == "correlation":
        return format_signed(value.estimate), format_interval(
            value.low, value.high, format_signed
        ) or "too few data for an interval"
    form = format_points if kind == "points" else format_percent
    text = f"{form(value.estimate)} points" if kind == "points" else f"{form(value.estimate)} %"
    return text, format_interval(value.low, value.high, form) or "too few data for an interval"


def format_p_value(value: float | None) -> str:
    """0.00004 -> "< 0.001"."""
    if _is_missing(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_number(value: object) -> str:
    """1430 -> "1 430" with a narrow space; text as it is."""
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}".replace(",", "\u202f") if float(value).is_integer() else f"{value:.3f}"
