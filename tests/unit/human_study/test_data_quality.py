"""Careless and slow, by the stated rules and by nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.config import InattentionConfig
from synesthesia.human_study import data_quality

RULES = InattentionConfig(failed_checks=2, fast_seconds=1.0, fast_fraction=0.25, max_same_choice_run=5)
FINE = ([0, 1, 2, 3, 4, 5, 6, 7], [4.0] * 8)


@pytest.mark.parametrize(
    ("choices", "seconds", "failed", "said"),
    [
        (*FINE, 0, []),
        (*FINE, 1, []),
        (*FINE, 2, ["2 attention checks failed"]),
        (FINE[0], [0.5, 0.99, *[4.0] * 6], 0, ["2 of 8 answers within 1 s"]),
        (FINE[0], [0.5, 1.0, *[4.0] * 6], 0, []),
        ([1, 3, 3, 3, 3, 3, 2, 4], FINE[1], 0, ["the same letter 5 times in a row"]),
        ([1, 3, 3, 3, 3, 2, 3, 4], FINE[1], 0, []),
        ([], [], 0, []),
    ],
)
def test_a_participant_is_careless_by_one_rule_or_more(choices, seconds, failed, said):
    assert data_quality.inattention_reasons(RULES, choices, seconds, failed) == said


@given(st.lists(st.integers(0, 9)))
def test_the_longest_run_is_that_of_a_plain_loop(choices):
    best = run = 0
    for index, choice in enumerate(choices):
        run = run + 1 if index and choices[index - 1] == choice else 1
        best = max(best, run)
    assert data_quality.longest_run(choices) == best


def test_slow_is_a_median_and_one_long_break_is_not():
    assert (
        data_quality.is_slow([70, 80, 5], 60)
        and not data_quality.is_slow([5, 6, 4000], 60)
        and not data_quality.is_slow([], 60)
    )


def test_the_rules_are_said_in_words_with_their_figures():
    assert "2 or more attention checks failed, or 25% or more" in data_quality.describe_criteria(RULES, 60)
