"""Careless and slow, by rules that are stated and the same for everybody; they mark, and take nothing away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from synesthesia.config import InattentionConfig


def longest_run(choices: Sequence[int]) -> int:
    """How often the same letter came in a row at most."""
    return max((len(list(run)) for _, run in groupby(choices)), default=0)


def inattention_reasons(
    criteria: InattentionConfig, choices: Sequence[int], seconds: Sequence[float], n_failed_checks: int
) -> list[str]:
    """Which rules speak against a participant, in words; empty: none.

    `choices` are letters' indices and `seconds` response times of the finished trials, in the session's order.
    """
    why = []
    if n_failed_checks >= criteria.failed_checks:
        why.append(f"{n_failed_checks} attention check{'s' * (n_failed_checks > 1)} failed")
    fast = sum(s < criteria.fast_seconds for s in seconds)
    if seconds and fast >= 1 and fast / len(seconds) >= criteria.fast_fraction:
        why.append(f"{fast} of {len(seconds)} answers within {criteria.fast_seconds:g} s")
    run = longest_run(choices)
    if run >= criteria.max_same_choice_run:
        why.append(f"the same letter {run} times in a row")
    return why


def is_slow(seconds: Sequence[float], slow_median_seconds: float) -> bool:
    """Whether half of the answers took longer than the rule's seconds."""
    return bool(seconds) and median(seconds) > slow_median_seconds


def describe_criteria(criteria: InattentionConfig, slow_median_seconds: float) -> str:
    """The rules as a sentence for the researcher's page and the guide."""
    return (
        f"Careless: {criteria.failed_checks} or more attention checks failed, or {criteria.fast_fraction:.0%} or more of the "
        f"answers quicker than {criteria.fast_seconds:g} s after loading, or the same letter {criteria.max_same_choice_run} "
        f"times in a row. Slow: a median response time above {slow_median_seconds:g} s."
    )
