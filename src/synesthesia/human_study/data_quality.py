"""Careless and slow, by rules that are stated and the same for everybody; they mark, and take nothing away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from synesthesia.config import Careless


def longest_run(choices: Sequence[int]) -> int:
    """How often the same letter came in a row at most."""
    return max((len(list(run)) for _, run in groupby(choices)), default=0)


def careless(rules: Careless, choices: Sequence[int], seconds: Sequence[float], failed_checks: int) -> list[str]:
    """Which rules speak against a participant, in words; empty: none.

    `choices` are letters' indices and `seconds` response times of the finished trials, in the session's order.
    """
    why = []
    if failed_checks >= rules.failed_checks:
        why.append(f"{failed_checks} attention check{'s' * (failed_checks > 1)} failed")
    fast = sum(s < rules.fast_seconds for s in seconds)
    if seconds and fast >= 1 and fast / len(seconds) >= rules.fast_share:
        why.append(f"{fast} of {len(seconds)} answers within {rules.fast_seconds:g} s")
    run = longest_run(choices)
    if run >= rules.same_letter_in_a_row:
        why.append(f"the same letter {run} times in a row")
    return why


def slow(seconds: Sequence[float], slow_median_seconds: float) -> bool:
    """Whether half of the answers took longer than the rule's seconds."""
    return bool(seconds) and median(seconds) > slow_median_seconds


def in_words(rules: Careless, slow_median_seconds: float) -> str:
    """The rules as a sentence for the researcher's page and the guide."""
    return (
        f"Careless: {rules.failed_checks} or more attention checks failed, or {rules.fast_share:.0%} or more of the "
        f"answers quicker than {rules.fast_seconds:g} s after loading, or the same letter {rules.same_letter_in_a_row} "
        f"times in a row. Slow: a median response time above {slow_median_seconds:g} s."
    )
