"""Data quality: fixed criteria for inattentive and slow participants. They flag responses and drop none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from synesthesia.config import InattentionConfig


def longest_run(choices: Sequence[int]) -> int:
    """Compute the length of the longest run of equal choices.

    Args:
        choices: Option indices in session order.

    Returns:
        The length; 0 without choices.
    """
    return max((len(list(run)) for _, run in groupby(choices)), default=0)


def inattention_reasons(
    criteria: InattentionConfig, choices: Sequence[int], seconds: Sequence[float], n_failed_checks: int
) -> list[str]:
    """List the criteria that a participant meets.

    Args:
        criteria: Thresholds of the inattention criteria.
        choices: Option indices of the completed trials, in session order.
        seconds: Response times of the same trials, in seconds.
        n_failed_checks: Number of failed attention checks.

    Returns:
        One phrase per criterion met; empty for an attentive participant.
    """
    reasons = []
    if n_failed_checks >= criteria.failed_checks:
        reasons.append(f"{n_failed_checks} attention check{'s' * (n_failed_checks > 1)} failed")
    n_fast = sum(s < criteria.fast_seconds for s in seconds)
    if seconds and n_fast >= 1 and n_fast / len(seconds) >= criteria.fast_fraction:
        reasons.append(f"{n_fast} of {len(seconds)} answers within {criteria.fast_seconds:g} s")
    run = longest_run(choices)
    if run >= criteria.max_same_choice_run:
        reasons.append(f"the same letter {run} times in a row")
    return reasons


def is_slow(seconds: Sequence[float], slow_median_seconds: float) -> bool:
    """Check whether the median response time is above the threshold.

    Args:
        seconds: Response times in seconds.
        slow_median_seconds: Threshold in seconds.

    Returns:
        True for a slow participant; False without response times.
    """
    return bool(seconds) and median(seconds) > slow_median_seconds


def describe_criteria(criteria: InattentionConfig, slow_median_seconds: float) -> str:
    """Describe the criteria in a sentence for the researcher's page.

    Args:
        criteria: Thresholds of the inattention criteria.
        slow_median_seconds: Threshold of the median response time in seconds.

    Returns:
        The text.
    """
    return (
        f"Inattentive: {criteria.failed_checks} or more attention checks failed, or {criteria.fast_fraction:.0%} or "
        f"more of the answers faster than {criteria.fast_seconds:g} s after loading, or the same letter "
        f"{criteria.max_same_choice_run} times in a row. Slow: a median response time above {slow_median_seconds:g} s."
    )
