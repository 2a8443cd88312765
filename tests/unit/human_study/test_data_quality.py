"""Data quality: inattentive and slow participants by the stated criteria only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.config import InattentionConfig
from synesthesia.human_study import data_quality

CRITERIA = InattentionConfig(failed_checks=2, fast_seconds=1.0, fast_fraction=0.25, max_same_choice_run=5)
ATTENTIVE = ([0, 1, 2, 3, 4, 5, 6, 7], [4.0] * 8)


@pytest.mark.parametrize(
    ("choices", "seconds", "n_failed_checks", "reasons"),
    [
        (*ATTENTIVE, 0, []),
        (*ATTENTIVE, 1, []),
        (*ATTENTIVE, 2, ["2 attention checks failed"]),
        (ATTENTIVE[0], [0.5, 0.99, *[4.0] * 6], 0, ["2 of 8 answers within 1 s"]),
        (ATTENTIVE[0], [0.5, 1.0, *[4.0] * 6], 0, []),
        ([1, 3, 3, 3, 3, 3, 2, 4], ATTENTIVE[1], 0, ["the same letter 5 times in a row"]),
        ([1, 3, 3, 3, 3, 2, 3, 4], ATTENTIVE[1], 0, []),
        ([], [], 0, []),
    ],
)
def test_one_criterion_makes_a_participant_inattentive(choices, seconds, n_failed_checks, reasons):
    assert data_quality.inattention_reasons(CRITERIA, choices, seconds, n_failed_checks) == reasons


@given(st.lists(st.integers(0, 9)))
def test_longest_run_equals_that_of_a_plain_loop(choices):
    best = run = 0
    for index, choice in enumerate(choices):
        run = run + 1 if index and choices[index - 1] == choice else 1
        best = max(best, run)
    assert data_quality.longest_run(choices) == best


def test_slow_depends_on_the_median_not_on_one_long_break():
    assert data_quality.is_slow([70, 80, 5], 60)
    assert not data_quality.is_slow([5, 6, 4000], 60)
    assert not data_quality.is_slow([], 60)


def test_criteria_are_described_with_their_thresholds():
    assert "2 or more attention checks failed, or 25% or more" in data_quality.describe_criteria(CRITERIA, 60)
