"""Distribution of targets and distractors over thousands of questions: uniform, or as frequent as in the lists."""

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from synesthesia.questions import sampling
from tests.helpers.question_examples import LABELS, clips, real_frequencies

pytestmark = pytest.mark.slow  # thousands of questions per test


def test_the_target_is_uniform_over_the_letters():
    questions = sampling.draw_questions(clips([[LABELS[n % 14]] for n in range(20000)]), 0, 10, "frequency")
    counts = np.bincount(questions["target"].to_numpy(), minlength=10)
    assert chisquare(counts).pvalue > 0.001


def test_the_true_option_is_uniform_over_the_labels_of_a_clip():
    clip_labels = LABELS[:4]
    table = clips([clip_labels] * 8000)
    questions = sampling.draw_questions(
        table, 0, 10, "frequency", {"vggsound": {label: 1 + 9 * n for n, label in enumerate(LABELS)}}
    )
    true_options = [
        options[target]
        for options, target in zip(questions["options"].to_pylist(), questions["target"].to_pylist(), strict=True)
    ]
    assert chisquare([true_options.count(label) for label in clip_labels]).pvalue > 0.001


def test_one_distractor_follows_the_frequencies_of_the_published_list():
    frequencies = real_frequencies()
    weights = np.array(list(frequencies.values()), float)
    names = list(frequencies)
    draws = 60
    table = clips([[label] for label in names for _ in range(draws)])
    questions = sampling.draw_questions(table, 0, 2, "frequency", {"vggsound": frequencies})
    options, targets = questions["options"].to_pylist(), questions["target"].to_numpy()
    index = {name: n for n, name in enumerate(names)}
    observed = np.bincount(
        [index[pair[1 - target]] for pair, target in zip(options, targets, strict=True)], minlength=len(names)
    )
    probabilities = weights[None, :] / (weights.sum() - weights[:, None])
    np.fill_diagonal(probabilities, 0)
    assert chisquare(observed, draws * probabilities.sum(0)).pvalue > 0.001


def test_several_distractors_are_drawn_as_numpy_draws_without_replacement():
    weights = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610], float)
    table = clips([[LABELS[0]]] * 6000)
    frequencies = {label: int(weight) for label, weight in zip(LABELS, weights, strict=True)}
    options = sampling.draw_questions(table, 5, 6, "frequency", {"vggsound": frequencies})["options"].to_pylist()
    observed = np.array([sum(label in row for row in options) for label in LABELS[1:]])
    rng = np.random.default_rng(0)
    probabilities = weights[1:] / weights[1:].sum()
    reference = np.zeros(13)
    for _ in range(6000):
        reference[rng.choice(13, 5, replace=False, p=probabilities)] += 1
    statistic = ((observed - reference) ** 2 / (observed + reference)).sum()
    assert statistic < chi2.ppf(0.999, 12)


def test_uniform_distractors_ignore_the_frequencies():
    frequencies = {label: 10**n for n, label in enumerate(LABELS)}
    options = sampling.draw_questions(clips([[LABELS[0]]] * 6000), 0, 2, "uniform", {"vggsound": frequencies})[
        "options"
    ].to_pylist()
    assert chisquare([sum(label in row for row in options) for label in LABELS[1:]]).pvalue > 0.001
