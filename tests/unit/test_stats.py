"""Intervals and tests against independent references, and what must hold for any data."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.multitest import multipletests

from synesthesia import stats as statistics

pytestmark = pytest.mark.slow  # the libraries that it compares with take seconds to import

HOW = {"samples": 400, "seed": 3, "confidence": 0.95}
counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(0.55, 0.999)


def pairs(seed=0, videos=60, clips=3, before=0.6, after=0.8):
    random = np.random.default_rng(seed)
    number = videos * clips
    return random.random(number) < before, random.random(number) < after, np.repeat(np.arange(videos), clips)


@pytest.mark.parametrize(("correct", "total"), [(0, 7), (3, 7), (72, 100), (14300, 14300), (1, 1)])
def test_wilson_equals_scipys(correct, total):
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    found = statistics.wilson(correct, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_equals_newcombes_worked_example():
    found = statistics.wilson(81, 263)  # Newcombe 1998, table I
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@given(counts, levels)
def test_wilson_lies_in_the_unit_interval_around_the_estimate(count, level):
    found = statistics.wilson(*count, level)
    assert 0 <= found.low <= found.estimate == count[0] / count[1] <= found.high <= 1


@given(counts, levels)
def test_wilson_of_wrong_answers_mirrors_that_of_right_ones(count, level):
    correct, total = count
    right, wrong = statistics.wilson(correct, total, level), statistics.wilson(total - correct, total, level)
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-9)


@given(counts)
def test_wilson_narrows_with_more_answers_and_widens_with_more_confidence(count):
    correct, total = count
    width = [
        (i := statistics.wilson(correct * k, total * k, c)).high - i.low for k, c in ((1, 0.95), (4, 0.95), (1, 0.99))
    ]
    assert width[1] < width[0] < width[2]


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_what_is_no_proportion(correct, total):
    with pytest.raises(ValueError, match="not a proportion"):
        statistics.wilson(correct, total)


def test_an_unparseable_answer_is_wrong():
    assert statistics.is_correct([0, 1, math.nan, 3], [0, 2, 0, 3]).tolist() == [True, False, False, True]


def test_the_bootstrap_is_the_same_for_the_same_seed_and_any_order_of_rows():
    before, after, videos = pairs()
    found = statistics.accuracy_difference(before, after, videos, **HOW)
    order = np.random.default_rng(9).permutation(len(before))
    names = np.array([f"video {v}" for v in videos])
    assert found == statistics.accuracy_difference(before[order], after[order], names[order], **HOW)
    assert found != statistics.accuracy_difference(before, after, videos, **HOW | {"seed": 4})


def test_the_bootstrap_agrees_with_resampling_videos_one_by_one():
    before, after, videos = pairs(videos=40)
    random = np.random.default_rng(1)
    change = (after.astype(float) - before).reshape(40, 3)
    slow = [change[random.integers(40, size=40)].mean() for _ in range(20000)]
    found = statistics.accuracy_difference(before, after, videos, samples=20000, seed=1, confidence=0.9)
    assert found.estimate == pytest.approx(change.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=0.009)


def test_clips_of_one_video_count_as_one_draw():
    before, after, videos = pairs(videos=50, clips=1)
    alone = statistics.accuracy_difference(before, after, videos, **HOW)
    eightfold = statistics.accuracy_difference(*(np.repeat(x, 8) for x in (before, after, videos)), **HOW)
    assert (eightfold.low, eightfold.high) == pytest.approx((alone.low, alone.high))


def test_unequal_videos_are_weighed_by_their_clips():
    before = np.zeros(12, bool)
    after = np.array([True] * 10 + [False] * 2)
    found = statistics.accuracy_difference(before, after, np.array([0] * 10 + [1, 2]), **HOW)
    assert found.estimate == pytest.approx(10 / 12)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_a_difference_lies_between_its_bounds_and_minus_one_and_one(rows):
    before, after, videos = (np.array(column) for column in zip(*rows, strict=True))
    found = statistics.accuracy_difference(before, after, videos, **HOW)
    assert found.low <= found.high
    assert found.estimate == pytest.approx(float(Fraction(int(after.sum()) - int(before.sum()), len(rows))))
    if found.is_bounded:
        assert -1 <= found.low <= found.high <= 1
    assert found.is_bounded == (len(set(videos.tolist())) > 1)


def test_intervals_of_differences_cover_the_truth_about_as_often_as_they_say():
    hits = 0
    for seed in range(200):
        before, after, videos = pairs(seed, videos=80, clips=2, before=0.5, after=0.7)
        found = statistics.accuracy_difference(before, after, videos, samples=400, seed=seed, confidence=0.9)
        hits += found.low <= 0.2 <= found.high
    assert 0.83 <= hits / 200 <= 0.96


def test_a_ratio_of_gains_is_the_papers():
    right = [np.arange(1000) < k for k in (719, 926, 719, 964)]
    found = statistics.gain_ratio(np.column_stack(right), np.arange(1000), **HOW)
    assert round(found.estimate, 2) == 0.84
    assert 0.75 < found.low < found.estimate < found.high < 0.95


def test_a_ratio_without_a_lead_is_none_and_one_with_a_doubtful_lead_is_unbounded():
    before, after, videos = pairs()
    assert statistics.gain_ratio(np.column_stack([before, after, after, after]), videos, **HOW) is None
    doubtful = before.copy()
    doubtful[np.flatnonzero(~before)[:1]] = True
    found = statistics.gain_ratio(np.column_stack([before, after, before, doubtful]), videos, **HOW)
    assert not found.is_bounded


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (10, 2), (5, 5), (300, 251)])
def test_mcnemar_equals_the_binomial_test_of_the_changed_answers(gained, lost):
    before = np.array([False] * gained + [True] * lost + [True, False] * 20)
    after = np.array([True] * gained + [False] * lost + [True, False] * 20)
    found = statistics.mcnemar(before, after)
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert (found.n_improved, found.n_worsened) == (gained, lost)
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_refuses_different_questions():
    with pytest.raises(ValueError, match="same questions"):
        statistics.mcnemar(np.ones(3), np.ones(4))


def test_holm_equals_the_worked_example_and_leaves_gaps():
    assert statistics.holm_correction([0.01, 0.04, math.nan, 0.03]).tolist() == pytest.approx(
        [0.03, 0.06, math.nan, 0.06], nan_ok=True
    )
    assert statistics.holm_correction([]).size == 0
    p = np.random.default_rng(2).random(40) ** 3
    assert statistics.holm_correction(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert np.isnan(statistics.holm_correction([math.nan])).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_a_p_and_never_exceeds_bonferroni(p):
    found = statistics.holm_correction(p)
    assert (found >= np.array(p) - 1e-12).all()
    assert (found <= np.minimum(1, np.array(p) * len(p)) + 1e-9).all()


def test_balanced_accuracy_and_roc_equal_sklearns():
    random = np.random.default_rng(5)
    target = random.random(300) < 0.8
    score = np.round(np.clip(random.normal(0.4 + 0.3 * target, 0.25), 0, 1), 1)  # many equal scores
    found = statistics.balanced_accuracy(score >= 0.5, target, np.arange(300), **HOW)
    assert found.estimate == pytest.approx(sk.balanced_accuracy_score(target, score >= 0.5))
    assert found.low < found.estimate < found.high
    false, true, area = statistics.roc_curve(score, target)
    assert area == pytest.approx(sk.roc_auc_score(target, score))
    expected = sk.roc_curve(target, score, drop_intermediate=False)
    assert false == pytest.approx(expected[0])
    assert true == pytest.approx(expected[1])


@pytest.mark.parametrize("target", [np.ones(5, bool), np.zeros(5, bool)])
def test_one_class_has_no_balanced_accuracy_and_no_curve(target):
    assert statistics.balanced_accuracy(target, target, np.arange(5), **HOW) is None
    assert statistics.roc_curve(np.linspace(0, 1, 5), target) is None


def test_reliability_counts_every_clip_once_and_certainty_belongs_to_the_last_bin():
    found = statistics.calibration_curve([0.0, 0.04, 0.5, 1.0, 0.95], [False, True, True, True, False])
    assert [(positive, total) for _, positive, total in found] == [(1, 2), (1, 1), (1, 2)]
    assert found[0][0] == pytest.approx(0.02)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_correlations_equal_scipys_with_ties(kind):
    random = np.random.default_rng(8)
    x = random.integers(-8, 9, 30) / 16
    y = np.round(0.6 * x + random.normal(0, 0.2, 30), 1)
    expected = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind](x, y)
    found = statistics.correlation(x, y, kind, **HOW)
    assert found.estimate == pytest.approx(expected.statistic)
    assert found.low < found.estimate < found.high

    def of_rows(a, b, axis=-1):
        sides = (stats.rankdata(side, axis=axis) if kind == "spearman" else side for side in (a, b))
        return stats.pearsonr(*sides, axis=axis).statistic

    slow = stats.bootstrap((x, y), of_rows, paired=True, vectorized=True, n_resamples=1500, method="percentile", rng=3)
    many = statistics.correlation(x, y, kind, **HOW | {"samples": 4000})
    assert (many.low, many.high) == pytest.approx(tuple(slow.confidence_interval), abs=0.05)


def test_a_correlation_of_few_or_constant_labels_is_none():
    assert statistics.correlation([0, 1], [0, 1], "pearson", **HOW) is None
    assert statistics.correlation([1, 1, 1], [0, 1, 2], "spearman", **HOW) is None
    with pytest.raises(ValueError, match="needs pairs"):
        statistics.correlation([0, 1, 2], [0, 1], "pearson", **HOW)
    with pytest.raises(ValueError, match="not one of pearson, spearman"):
        statistics.correlation([0, 1, 2], [0, 1, 3], "kendall", **HOW)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12))
def test_a_correlation_is_symmetric_bounded_and_turns_with_a_sign(rows):
    x, y = (np.array(column, float) for column in zip(*rows, strict=True))
    for kind in ("pearson", "spearman"):
        found = statistics.correlation(x, y, kind, **HOW)
        if found is None:
            assert np.ptp(x) == 0 or np.ptp(y) == 0
            continue
        assert -1 <= found.estimate <= 1
        assert found.estimate == pytest.approx(statistics.correlation(y, x, kind, **HOW).estimate)
        turned = statistics.correlation(-x, y, kind, **HOW)
        assert turned.estimate == pytest.approx(-found.estimate)


def ratings(items=60, raters=4, agreeing=0.6, seed=3):
    random = np.random.default_rng(seed)
    own = random.integers(0, 10, (items, 1))
    chosen = np.where(random.random((items, raters)) < agreeing, own, random.integers(0, 10, (items, raters)))
    return np.stack([(chosen == category).sum(axis=1) for category in range(10)], axis=1)


def test_fleiss_kappa_equals_statsmodels():
    counts = ratings()
    found = statistics.fleiss_kappa(counts, np.arange(len(counts)), **HOW)
    assert found.estimate == pytest.approx(fleiss_kappa(counts))
    assert found.low < found.estimate < found.high


def test_fleiss_kappa_equals_the_worked_example_of_1971():
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
    )  # shares: 1, 0, 1/2
    assert statistics.fleiss_kappa(counts, np.arange(30), **HOW).estimate == pytest.approx(0.430, abs=5e-4)


def test_kappa_leaves_out_clips_rated_once_and_weighs_unequal_ones_alike():
    counts = np.array([[2, 0], [0, 3], [1, 1], [1, 0]])
    agreed, chance = (1 + 1 + 0) / 3, 0.5**2 + 0.5**2  # its mean share is (1 + 0 + 1/2) / 3
    found = statistics.fleiss_kappa(counts, np.arange(4), **HOW)
    assert found.estimate == pytest.approx((agreed - chance) / (1 - chance))
    assert statistics.fleiss_kappa(np.array([[1, 0], [0, 1]]), np.arange(2), **HOW) is None
    assert statistics.fleiss_kappa(np.array([[2, 0], [3, 0]]), np.arange(2), **HOW) is None


def test_raters_who_all_agree_have_kappa_one_and_those_who_guess_none():
    assert statistics.fleiss_kappa(ratings(agreeing=1), np.arange(60), **HOW).estimate == pytest.approx(1)
    assert statistics.fleiss_kappa(ratings(400, agreeing=0), np.arange(400), **HOW).estimate == pytest.approx(
        0, abs=0.03
    )


def test_quantiles_equal_numpys_and_are_resampled_by_participant():
    random = np.random.default_rng(4)
    speed = np.repeat(random.lognormal(1, 0.5, 30), 15)
    values, people = speed * random.lognormal(0, 0.2, 450), np.repeat(np.arange(30), 15)
    shares = (0.25, 0.5, 0.75)
    found = statistics.bootstrap_quantiles(values, people, shares, **HOW)
    expected = np.quantile(values, shares, method="inverted_cdf")
    assert [f.estimate for f in found] == pytest.approx(expected.tolist())
    slow = [np.median(np.concatenate([values[people == p] for p in random.integers(30, size=30)])) for _ in range(1500)]
    assert (found[1].low, found[1].high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), rel=0.08)
    alone = statistics.bootstrap_quantiles(values, np.arange(450), shares, **HOW)
    assert alone[1].high - alone[1].low < found[1].high - found[1].low, "answers of one person are not independent"


def test_the_quantiles_of_one_participant_have_no_bounds_and_of_nothing_are_refused():
    (found,) = statistics.bootstrap_quantiles([3.0, 1.0, 2.0], ["p"] * 3, (0.5,), **HOW)
    assert (found.estimate, found.is_bounded) == (2.0, False)
    with pytest.raises(ValueError, match="values and a cluster each"):
        statistics.bootstrap_quantiles([], [], (0.5,), **HOW)
