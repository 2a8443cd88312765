"""Intervals and tests against independent references, and properties that hold for any data."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve
from statsmodels.stats import inter_rater

from synesthesia import stats

pytestmark = pytest.mark.slow  # the reference libraries take seconds to import

OPTIONS = {"samples": 400, "seed": 3, "confidence": 0.95}
proportions = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(0.55, 0.999)


def make_pairs(seed=0, videos=60, clips=3, before=0.6, after=0.8):
    """Correctness before and after with these accuracies, and the video of each clip."""
    rng = np.random.default_rng(seed)
    total = videos * clips
    return rng.random(total) < before, rng.random(total) < after, np.repeat(np.arange(videos), clips)


@pytest.mark.parametrize(("correct", "total"), [(0, 7), (3, 7), (72, 100), (14300, 14300), (1, 1)])
def test_wilson_equals_scipy(correct, total):
    expected = scipy_stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    result = stats.wilson(correct, total)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_equals_newcombes_worked_example():
    result = stats.wilson(81, 263)  # Newcombe 1998, table I
    assert (round(result.low, 4), round(result.high, 4)) == (0.2553, 0.3662)


@given(proportions, levels)
def test_wilson_is_in_the_unit_interval_around_the_estimate(count, level):
    result = stats.wilson(*count, level)
    assert 0 <= result.low <= result.estimate == count[0] / count[1] <= result.high <= 1


@given(proportions, levels)
def test_wilson_of_wrong_answers_mirrors_that_of_correct_ones(count, level):
    correct, total = count
    result, wrong = stats.wilson(correct, total, level), stats.wilson(total - correct, total, level)
    assert (result.low, result.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-9)


@given(proportions)
def test_wilson_narrows_with_more_answers_and_widens_with_confidence(count):
    correct, total = count
    width = [(i := stats.wilson(correct * k, total * k, c)).high - i.low for k, c in ((1, 0.95), (4, 0.95), (1, 0.99))]
    assert width[1] < width[0] < width[2]


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_rejects_invalid_counts(correct, total):
    with pytest.raises(ValueError, match="not a proportion"):
        stats.wilson(correct, total)


def test_an_unparseable_answer_is_wrong():
    assert stats.is_correct([0, 1, math.nan, 3], [0, 2, 0, 3]).tolist() == [True, False, False, True]


def test_bootstrap_depends_on_the_seed_and_not_on_the_order_of_rows():
    before, after, videos = make_pairs()
    result = stats.accuracy_difference(before, after, videos, **OPTIONS)
    order = np.random.default_rng(9).permutation(len(before))
    names = np.array([f"video {v}" for v in videos])
    assert result == stats.accuracy_difference(before[order], after[order], names[order], **OPTIONS)
    assert result != stats.accuracy_difference(before, after, videos, **OPTIONS | {"seed": 4})


def test_bootstrap_equals_resampling_videos_one_by_one():
    before, after, videos = make_pairs(videos=40)
    rng = np.random.default_rng(1)
    change = (after.astype(float) - before).reshape(40, 3)
    slow = [change[rng.integers(40, size=40)].mean() for _ in range(20000)]
    result = stats.accuracy_difference(before, after, videos, samples=20000, seed=1, confidence=0.9)
    assert result.estimate == pytest.approx(change.mean())
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=0.009)


def test_duplicated_clips_of_a_video_do_not_narrow_the_interval():
    before, after, videos = make_pairs(videos=50, clips=1)
    single = stats.accuracy_difference(before, after, videos, **OPTIONS)
    eightfold = stats.accuracy_difference(*(np.repeat(x, 8) for x in (before, after, videos)), **OPTIONS)
    assert (eightfold.low, eightfold.high) == pytest.approx((single.low, single.high))


def test_videos_are_weighted_by_their_number_of_clips():
    before = np.zeros(12, bool)
    after = np.array([True] * 10 + [False] * 2)
    result = stats.accuracy_difference(before, after, np.array([0] * 10 + [1, 2]), **OPTIONS)
    assert result.estimate == pytest.approx(10 / 12)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_difference_and_its_bounds_are_ordered_and_within_minus_one_and_one(rows):
    before, after, videos = (np.array(column) for column in zip(*rows, strict=True))
    result = stats.accuracy_difference(before, after, videos, **OPTIONS)
    assert result.low <= result.high
    assert result.estimate == pytest.approx(float(Fraction(int(after.sum()) - int(before.sum()), len(rows))))
    if result.is_bounded:
        assert -1 <= result.low <= result.high <= 1
    assert result.is_bounded == (len(set(videos.tolist())) > 1)


def test_intervals_of_differences_have_their_nominal_coverage():
    hits = 0
    for seed in range(200):
        before, after, videos = make_pairs(seed, videos=80, clips=2, before=0.5, after=0.7)
        result = stats.accuracy_difference(before, after, videos, samples=400, seed=seed, confidence=0.9)
        hits += result.low <= 0.2 <= result.high
    assert 0.83 <= hits / 200 <= 0.96


def test_gain_ratio_equals_the_papers():
    correct = [np.arange(1000) < k for k in (719, 926, 719, 964)]
    result = stats.gain_ratio(np.column_stack(correct), np.arange(1000), **OPTIONS)
    assert round(result.estimate, 2) == 0.84
    assert 0.75 < result.low < result.estimate < result.high < 0.95


def test_gain_ratio_is_none_without_a_lead_and_unbounded_with_an_uncertain_one():
    before, after, videos = make_pairs()
    assert stats.gain_ratio(np.column_stack([before, after, after, after]), videos, **OPTIONS) is None
    uncertain = before.copy()
    uncertain[np.flatnonzero(~before)[:1]] = True
    result = stats.gain_ratio(np.column_stack([before, after, before, uncertain]), videos, **OPTIONS)
    assert not result.is_bounded


@pytest.mark.parametrize(("n_improved", "n_worsened"), [(0, 0), (1, 0), (10, 2), (5, 5), (300, 251)])
def test_mcnemar_equals_the_binomial_test_of_changed_answers(n_improved, n_worsened):
    before = np.array([False] * n_improved + [True] * n_worsened + [True, False] * 20)
    after = np.array([True] * n_improved + [False] * n_worsened + [True, False] * 20)
    result = stats.mcnemar(before, after)
    expected = scipy_stats.binomtest(n_improved, n_improved + n_worsened).pvalue if n_improved + n_worsened else 1.0
    assert (result.n_improved, result.n_worsened) == (n_improved, n_worsened)
    assert result.p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_rejects_different_questions():
    with pytest.raises(ValueError, match="same questions"):
        stats.mcnemar(np.ones(3), np.ones(4))


def test_holm_equals_its_definition_and_keeps_nan():
    assert stats.holm_correction([0.01, 0.04, math.nan, 0.03]).tolist() == pytest.approx(
        [0.03, 0.06, math.nan, 0.06], nan_ok=True
    )
    assert stats.holm_correction([]).size == 0
    p = np.random.default_rng(2).random(40) ** 3
    adjusted = {value: (40 - rank) * value for rank, value in enumerate(sorted(p))}  # by definition, step down
    expected = [min(1, max(adjusted[smaller] for smaller in p if smaller <= value)) for value in p]
    assert stats.holm_correction(p) == pytest.approx(expected)
    assert np.isnan(stats.holm_correction([math.nan])).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_between_the_raw_p_and_bonferroni(p):
    result = stats.holm_correction(p)
    assert (result >= np.array(p) - 1e-12).all()
    assert (result <= np.minimum(1, np.array(p) * len(p)) + 1e-9).all()


def test_balanced_accuracy_and_roc_equal_independent_references():
    rng = np.random.default_rng(5)
    target = rng.random(300) < 0.8
    score = np.round(np.clip(rng.normal(0.4 + 0.3 * target, 0.25), 0, 1), 1)  # many equal scores
    result = stats.balanced_accuracy(score >= 0.5, target, np.arange(300), **OPTIONS)
    assert result.estimate == pytest.approx(sklearn_metrics.balanced_accuracy_score(target, score >= 0.5))
    assert result.low < result.estimate < result.high
    false_positive_rate, true_positive_rate, area = stats.roc_curve(score, target)
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(target, score))
    pairs = np.sign(score[target][:, None] - score[~target])  # ties count half
    assert area == pytest.approx((pairs.mean() + 1) / 2)
    thresholds = [math.inf, *sorted(set(score), reverse=True)]
    assert false_positive_rate == pytest.approx([(score[~target] >= threshold).mean() for threshold in thresholds])
    assert true_positive_rate == pytest.approx([(score[target] >= threshold).mean() for threshold in thresholds])


@pytest.mark.parametrize("target", [np.ones(5, bool), np.zeros(5, bool)])
def test_one_class_has_neither_balanced_accuracy_nor_roc_curve(target):
    assert stats.balanced_accuracy(target, target, np.arange(5), **OPTIONS) is None
    assert stats.roc_curve(np.linspace(0, 1, 5), target) is None


def test_calibration_counts_every_clip_once_and_one_is_in_the_last_bin():
    result = stats.calibration_curve([0.0, 0.04, 0.5, 1.0, 0.95], [False, True, True, True, False])
    assert [(positive, total) for _, positive, total in result] == [(1, 2), (1, 1), (1, 2)]
    assert result[0][0] == pytest.approx(0.02)


def test_calibration_curve_equals_sklearn():
    rng = np.random.default_rng(6)
    probability = rng.random(500) ** 2
    target = rng.random(500) < probability
    bins = stats.calibration_curve(probability, target)
    expected_frequency, expected_probability = calibration_curve(target, probability, n_bins=10)
    assert [mean for mean, _, _ in bins] == pytest.approx(expected_probability.tolist())
    assert [positives / total for _, positives, total in bins] == pytest.approx(expected_frequency.tolist())
    assert sum(total for _, _, total in bins) == 500


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_correlations_with_ties_equal_scipy(kind):
    rng = np.random.default_rng(8)
    x = rng.integers(-8, 9, 30) / 16
    y = np.round(0.6 * x + rng.normal(0, 0.2, 30), 1)
    expected = {"pearson": scipy_stats.pearsonr, "spearman": scipy_stats.spearmanr}[kind](x, y)
    result = stats.correlation(x, y, kind, **OPTIONS)
    assert result.estimate == pytest.approx(expected.statistic)
    assert result.low < result.estimate < result.high

    def correlate_rows(a, b, axis=-1):
        sides = (scipy_stats.rankdata(side, axis=axis) if kind == "spearman" else side for side in (a, b))
        return scipy_stats.pearsonr(*sides, axis=axis).statistic

    slow = scipy_stats.bootstrap(
        (x, y), correlate_rows, paired=True, vectorized=True, n_resamples=1500, method="percentile", rng=3
    )
    many = stats.correlation(x, y, kind, **OPTIONS | {"samples": 4000})
    assert (many.low, many.high) == pytest.approx(tuple(slow.confidence_interval), abs=0.05)


def test_correlation_of_few_or_constant_labels_is_none():
    assert stats.correlation([0, 1], [0, 1], "pearson", **OPTIONS) is None
    assert stats.correlation([1, 1, 1], [0, 1, 2], "spearman", **OPTIONS) is None
    with pytest.raises(ValueError, match="needs pairs"):
        stats.correlation([0, 1, 2], [0, 1], "pearson", **OPTIONS)
    with pytest.raises(ValueError, match="not one of pearson, spearman"):
        stats.correlation([0, 1, 2], [0, 1, 3], "kendall", **OPTIONS)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12))
def test_correlation_is_symmetric_bounded_and_changes_sign(rows):
    x, y = (np.array(column, float) for column in zip(*rows, strict=True))
    for kind in ("pearson", "spearman"):
        result = stats.correlation(x, y, kind, **OPTIONS)
        if result is None:
            assert np.ptp(x) == 0 or np.ptp(y) == 0
            continue
        assert -1 <= result.estimate <= 1
        assert result.estimate == pytest.approx(stats.correlation(y, x, kind, **OPTIONS).estimate)
        negated = stats.correlation(-x, y, kind, **OPTIONS)
        assert negated.estimate == pytest.approx(-result.estimate)


def make_ratings(items=60, raters=4, agreement=0.6, seed=3):
    """Number of raters per item and category; a rater gives the item's category with probability `agreement`."""
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 10, (items, 1))
    rating = np.where(rng.random((items, raters)) < agreement, category, rng.integers(0, 10, (items, raters)))
    return np.stack([(rating == c).sum(axis=1) for c in range(10)], axis=1)


def test_fleiss_kappa_equals_statsmodels():
    counts = make_ratings()
    result = stats.fleiss_kappa(counts, np.arange(len(counts)), **OPTIONS)
    assert result.estimate == pytest.approx(inter_rater.fleiss_kappa(counts))
    assert result.low < result.estimate < result.high


def test_fleiss_kappa_equals_the_example_of_1971():
    counts = np.array(
        [
            [0, 0, 0, 6, 0],
            [0, 3, 0, 0, 3],
            [0, 1, 4, 0, 1],
            [0, 0, 0, 0, 6],
            [0, 3, 0, 3, 0],
            [2, 0, 4, 0, 0],
            [0, 0, 4, 0, 2],
            [2, 0, 3, 1, 0],
            [2, 0, 0, 4, 0],
            [0, 0, 0, 0, 6],
            [1, 0, 0, 5, 0],
            [1, 1, 0, 4, 0],
            [0, 3, 3, 0, 0],
            [1, 0, 0, 5, 0],
            [0, 2, 0, 3, 1],
            [0, 0, 5, 0, 1],
            [3, 0, 0, 1, 2],
            [5, 1, 0, 0, 0],
            [0, 2, 0, 4, 0],
            [1, 0, 2, 0, 3],
            [0, 0, 0, 0, 6],
            [0, 1, 0, 5, 0],
            [0, 2, 0, 1, 3],
            [2, 0, 0, 4, 0],
            [1, 0, 0, 4, 1],
            [0, 5, 0, 1, 0],
            [4, 0, 0, 0, 2],
            [0, 2, 0, 4, 0],
            [1, 0, 5, 0, 0],
            [0, 0, 0, 0, 6],
        ]
    )
    assert stats.fleiss_kappa(counts, np.arange(30), **OPTIONS).estimate == pytest.approx(0.430, abs=5e-4)


def test_kappa_ignores_clips_rated_once_and_weights_all_others_equally():
    counts = np.array([[2, 0], [0, 3], [1, 1], [1, 0]])
    agreement, chance = (1 + 1 + 0) / 3, 0.5**2 + 0.5**2  # mean fraction of category 0: (1 + 0 + 1/2) / 3
    result = stats.fleiss_kappa(counts, np.arange(4), **OPTIONS)
    assert result.estimate == pytest.approx((agreement - chance) / (1 - chance))
    assert stats.fleiss_kappa(np.array([[1, 0], [0, 1]]), np.arange(2), **OPTIONS) is None
    assert stats.fleiss_kappa(np.array([[2, 0], [3, 0]]), np.arange(2), **OPTIONS) is None


def test_kappa_is_one_for_full_agreement_and_zero_for_guesses():
    assert stats.fleiss_kappa(make_ratings(agreement=1), np.arange(60), **OPTIONS).estimate == pytest.approx(1)
    assert stats.fleiss_kappa(make_ratings(400, agreement=0), np.arange(400), **OPTIONS).estimate == pytest.approx(
        0, abs=0.03
    )


def test_quantiles_equal_numpy_and_are_bootstrapped_by_participant():
    rng = np.random.default_rng(4)
    speed = np.repeat(rng.lognormal(1, 0.5, 30), 15)
    values, participants = speed * rng.lognormal(0, 0.2, 450), np.repeat(np.arange(30), 15)
    quantile_levels = (0.25, 0.5, 0.75)
    result = stats.bootstrap_quantiles(values, participants, quantile_levels, **OPTIONS)
    expected = np.quantile(values, quantile_levels, method="inverted_cdf")
    assert [interval.estimate for interval in result] == pytest.approx(expected.tolist())
    slow = [
        np.median(np.concatenate([values[participants == p] for p in rng.integers(30, size=30)])) for _ in range(1500)
    ]
    assert (result[1].low, result[1].high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), rel=0.08)
    independent = stats.bootstrap_quantiles(values, np.arange(450), quantile_levels, **OPTIONS)
    assert independent[1].high - independent[1].low < result[1].high - result[1].low, (
        "responses of one participant are not independent"
    )


def test_quantiles_of_one_participant_are_unbounded_and_of_no_values_an_error():
    (result,) = stats.bootstrap_quantiles([3.0, 1.0, 2.0], ["p"] * 3, (0.5,), **OPTIONS)
    assert (result.estimate, result.is_bounded) == (2.0, False)
    with pytest.raises(ValueError, match="values and a cluster per value"):
        stats.bootstrap_quantiles([], [], (0.5,), **OPTIONS)
