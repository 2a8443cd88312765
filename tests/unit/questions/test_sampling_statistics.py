"""Answers and distractors over thousands of drawn questions: even, or as frequent as in the lists."""

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from synesthesia.questions import sampling
from tests.helpers.question_examples import LABELS, clips, real_frequencies

pytestmark = pytest.mark.slow  # thousands of questions a test


def test_the_true_position_is_even_over_the_letters():
    drawn = sampling.draw_questions(clips([[LABELS[n % 14]] for n in range(20000)]), 0, 10, "frequency")
    counts = np.bincount(drawn["target"].to_numpy(), minlength=10)
    assert chisquare(counts).pvalue > 0.001


def test_the_true_label_of_a_clip_of_several_is_even_over_them():
    own = LABELS[:4]
    table = clips([own] * 8000)
    drawn = sampling.draw_questions(
        table, 0, 10, "frequency", {"vggsound": {label: 1 + 9 * n for n, label in enumerate(LABELS)}}
    )
    truth = [
        options[answer]
        for options, answer in zip(drawn["options"].to_pylist(), drawn["target"].to_pylist(), strict=True)
    ]
    assert chisquare([truth.count(label) for label in own]).pvalue > 0.001


def test_one_distractor_follows_the_real_lists_frequencies():
    frequencies = real_frequencies()
    weights = np.array(list(frequencies.values()), float)
    names = list(frequencies)
    draws = 60
    table = clips([[label] for label in names for _ in range(draws)])
    drawn = sampling.draw_questions(table, 0, 2, "frequency", {"vggsound": frequencies})
    options, answers = drawn["options"].to_pylist(), drawn["target"].to_numpy()
    index = {name: n for n, name in enumerate(names)}
    seen = np.bincount([index[pair[1 - a]] for pair, a in zip(options, answers, strict=True)], minlength=len(names))
    chances = weights[None, :] / (weights.sum() - weights[:, None])
    np.fill_diagonal(chances, 0)
    assert chisquare(seen, draws * chances.sum(0)).pvalue > 0.001


def test_nine_distractors_are_drawn_as_numpy_draws_without_replacement():
    weights = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610], float)
    table = clips([[LABELS[0]]] * 6000)
    frequencies = {label: int(weight) for label, weight in zip(LABELS, weights, strict=True)}
    options = sampling.draw_questions(table, 5, 6, "frequency", {"vggsound": frequencies})["options"].to_pylist()
    ours = np.array([sum(label in row for row in options) for label in LABELS[1:]])
    rng = np.random.default_rng(0)
    chances = weights[1:] / weights[1:].sum()
    theirs = np.zeros(13)
    for _ in range(6000):
        theirs[rng.choice(13, 5, replace=False, p=chances)] += 1
    statistic = ((ours - theirs) ** 2 / (ours + theirs)).sum()
    assert statistic < chi2.ppf(0.999, 12)


def test_uniform_distractors_ignore_the_frequencies():
    frequencies = {label: 10**n for n, label in enumerate(LABELS)}
    options = sampling.draw_questions(clips([[LABELS[0]]] * 6000), 0, 2, "uniform", {"vggsound": frequencies})[
        "options"
    ].to_pylist()
    assert chisquare([sum(label in row for row in options) for label in LABELS[1:]]).pvalue > 0.001
