"""Confidence intervals, paired tests and multiple-testing correction.

All statistics are over answers that are correct or not; an unparseable answer is wrong. Proportions are in [0, 1] and
differences in [-1, 1], not percent. Clips cut from one video are not independent, so differences are bootstrapped by
video, not by clip. Inputs are NumPy arrays, results small frozen objects; this module needs neither torch nor tables.

Single proportions, McNemar's test, Holm's correction and the ROC curve come from statsmodels and scikit-learn, imported
where they are used because each import takes about a second. The cluster bootstrap, and what is bootstrapped with it,
are implemented here: no library offers a vectorized bootstrap over clusters of unequal size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, Unpack, cast

import numpy as np
import numpy.typing as npt


class BootstrapOptions(TypedDict):
    """Keyword arguments that every bootstrapped statistic passes on to `bootstrap`."""

    samples: int
    seed: int
    confidence: NotRequired[float]


@dataclass(frozen=True)
class Interval:
    """Estimate with its confidence interval.

    Attributes:
        estimate: Point estimate.
        low: Lower end; -inf where the data give no bound.
        high: Upper end; inf where the data give no bound.
    """

    estimate: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def is_correct(choice: npt.ArrayLike, target: npt.ArrayLike) -> np.ndarray:
    """Compare answers with targets.

    Args:
        choice: Indices of the chosen options, shape (n,); nan for an unparseable answer.
        target: Indices of the true options, shape (n,).

    Returns:
        Bool array of shape (n,); an unparseable answer is wrong.
    """
    choice = np.asarray(choice, dtype=float)
    return np.isfinite(choice) & (choice == np.asarray(target, dtype=float))


def wilson(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Compute the score interval of one proportion (Wilson 1927, JASA 22:209).

    Args:
        correct: Number of correct answers.
        total: Number of answers.
        confidence: Confidence level in (0, 1).

    Returns:
        The proportion with its interval, within [0, 1] and around the estimate.

    Raises:
        ValueError: `total` is zero, or `correct` is not in [0, total].
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} correct of {total} answers is not a proportion")
    from statsmodels.stats.proportion import proportion_confint

    low, high = cast(tuple[float, float], proportion_confint(correct, total, alpha=1 - confidence, method="wilson"))
    proportion = correct / total
    return Interval(proportion, float(max(0.0, min(low, proportion))), float(min(1.0, max(high, proportion))))


def bootstrap(
    columns: npt.ArrayLike,
    clusters: npt.ArrayLike,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    samples: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Compute a percentile interval of a function of column means by the cluster bootstrap.

    Davison & Hinkley (1997), Bootstrap Methods and Their Application, section 3.8. An undefined resample counts as
    lower *and* higher than all others, so an interval is infinite where too many are undefined.

    Drawing v clusters with replacement is drawing multinomial counts. Clusters with equal sums are exchangeable, so
    the draw is over the few distinct sums: exact, and fast with any number of videos. The result is deterministic in
    `seed` and independent of the order of the rows.

    Args:
        columns: k numbers per item, shape (n, k).
        clusters: Cluster of each item (its video), shape (n,).
        statistic: Maps means of shape (..., k) to values of shape (...); nan where it is undefined.
        samples: Number of bootstrap samples.
        seed: Seed of the draw.
        confidence: Confidence level in (0, 1).

    Returns:
        The statistic with its interval; unbounded for fewer than two clusters or an undefined estimate.

    Raises:
        ValueError: There is no item, or `columns` and `clusters` differ in length.
    """
    columns, clusters = np.asarray(columns, dtype=float), np.asarray(clusters)
    if columns.ndim != 2 or not len(columns) or len(columns) != len(clusters):
        raise ValueError(
            f"bootstrap needs items x columns and a cluster per item, got {columns.shape}, {len(clusters)}"
        )
    estimate = float(statistic(columns.mean(axis=0)))
    _, cluster_index = np.unique(clusters, return_inverse=True)
    num_clusters = int(cluster_index.max()) + 1
    if num_clusters < 2 or not math.isfinite(estimate):
        return Interval(estimate, -math.inf, math.inf)
    sums = [np.bincount(cluster_index, weights=column, minlength=num_clusters) for column in columns.T]
    distinct_sums, count = np.unique(np.column_stack([*sums, np.bincount(cluster_index)]), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(num_clusters, count / num_clusters, size=samples)
    totals = draws @ distinct_sums
    values = statistic(totals[:, :-1] / totals[:, -1:])
    return _percentile_interval(estimate, values, confidence)


def _percentile_interval(estimate: float, values: np.ndarray, confidence: float) -> Interval:
    """Return the percentile interval of resampled values; an undefined value is lower and higher than all others."""
    undefined = ~np.isfinite(values)
    tail = (1 - confidence) / 2
    low = np.quantile(np.where(undefined, -np.inf, values), tail, method="lower")
    high = np.quantile(np.where(undefined, np.inf, values), 1 - tail, method="higher")
    return Interval(estimate, float(low), float(high))


def accuracy_difference(
    before: npt.ArrayLike, after: npt.ArrayLike, video_ids: npt.ArrayLike, **options: Unpack[BootstrapOptions]
) -> Interval:
    """Compute accuracy after minus before on the same questions, bootstrapped by video.

    Args:
        before: Correctness before, bool, shape (n,).
        after: Correctness after on the same questions, bool, shape (n,).
        video_ids: Video of each question, shape (n,).
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        Difference in [-1, 1].
    """
    return bootstrap(
        np.column_stack([np.asarray(before), np.asarray(after)]),
        video_ids,
        lambda means: means[..., 1] - means[..., 0],
        **options,
    )


def gain_ratio(
    columns: npt.ArrayLike, video_ids: npt.ArrayLike, **options: Unpack[BootstrapOptions]
) -> Interval | None:
    """Compute the ratio of two accuracy gains, (b - a) / (d - c), bootstrapped by video.

    With a, b = before, after and c, d = before, after with ground-truth labels, this is the paper's "84 % of what
    ground truth would have gained" (section 4.4); with d the teacher, it is the "125 % of the teacher's lead".

    Args:
        columns: Correctness of a, b, c, d on the same questions, shape (n, 4).
        video_ids: Video of each question, shape (n,).
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        The ratio, or None where d does not exceed c.
    """

    def ratio(means: np.ndarray) -> np.ndarray:
        lead = means[..., 3] - means[..., 2]
        return np.where(lead > 1e-12, (means[..., 1] - means[..., 0]) / np.where(lead > 1e-12, lead, 1), np.nan)

    interval = bootstrap(columns, video_ids, ratio, **options)
    return interval if math.isfinite(interval.estimate) else None


def balanced_accuracy(
    predicted: npt.ArrayLike, target: npt.ArrayLike, video_ids: npt.ArrayLike, **options: Unpack[BootstrapOptions]
) -> Interval | None:
    """Compute the balanced accuracy of a binary classifier (mean of the two classes' recalls), bootstrapped by video.

    Args:
        predicted: Predicted class, bool, shape (n,).
        target: True class, bool, shape (n,).
        video_ids: Video of each clip, shape (n,).
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        Balanced accuracy in [0, 1], or None where only one class occurs.
    """
    predicted, target = np.asarray(predicted, bool), np.asarray(target, bool)
    if target.all() or not target.any():
        return None
    columns = np.column_stack([predicted & target, target, ~predicted & ~target, ~target])

    def mean_recall(means: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (means[..., 0] / means[..., 1] + means[..., 2] / means[..., 3]) / 2

    return bootstrap(columns, video_ids, mean_recall, **options)


@dataclass(frozen=True)
class McNemarResult:
    """Result of McNemar's test.

    Attributes:
        n_improved: Questions that are wrong before and correct after.
        n_worsened: Questions that are correct before and wrong after.
        p_value: Two-sided exact p value.
    """

    n_improved: int
    n_worsened: int
    p_value: float


def mcnemar(before: npt.ArrayLike, after: npt.ArrayLike) -> McNemarResult:
    """Run McNemar's exact test on paired answers (McNemar 1947, Psychometrika 12:153).

    Args:
        before: Correctness before, bool, shape (n,).
        after: Correctness after on the same questions, bool, shape (n,).

    Returns:
        Numbers of changed answers and the p value; unchanged answers do not count.

    Raises:
        ValueError: The shapes differ.
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape:
        raise ValueError(f"before and after must be the same questions, got shapes {before.shape} and {after.shape}")
    from statsmodels.stats.contingency_tables import mcnemar as mcnemar_test

    n_improved, n_worsened = int((~before & after).sum()), int((before & ~after).sum())
    table = [[int((before & after).sum()), n_worsened], [n_improved, int((~before & ~after).sum())]]
    test: Any = mcnemar_test(table, exact=True)
    return McNemarResult(n_improved, n_worsened, float(test.pvalue))


def holm_correction(p_values: npt.ArrayLike) -> np.ndarray:
    """Correct p values for multiple testing (Holm 1979, Scandinavian Journal of Statistics 6:65).

    Args:
        p_values: P values of one family of tests, shape (n,); nan where there is no test.

    Returns:
        Corrected p values, shape (n,); nan stays nan and does not count as a test.
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, np.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        from statsmodels.stats.multitest import multipletests

        corrected[tested] = multipletests(p_values[tested], method="holm")[1]
    return corrected


def roc_curve(score: npt.ArrayLike, target: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Compute the ROC curve of a binary classifier and the area under it.

    Equal scores are one threshold, so the area is the probability that a positive scores higher, ties half.

    Args:
        score: Score of the positive class, shape (n,).
        target: True class, bool, shape (n,).

    Returns:
        False positive rates, true positive rates (one per threshold) and the area, or None where only one class occurs.
    """
    score, target = np.asarray(score, float), np.asarray(target, bool)
    if target.all() or not target.any():
        return None
    from sklearn import metrics

    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(target, score, drop_intermediate=False)
    return false_positive_rate, true_positive_rate, float(metrics.auc(false_positive_rate, true_positive_rate))


def calibration_curve(
    probability: npt.ArrayLike, target: npt.ArrayLike, n_bins: int = 10
) -> list[tuple[float, int, int]]:
    """Compute the calibration curve (reliability diagram) of a binary classifier (Murphy & Winkler 1977).

    NumPy's histogram and not scikit-learn's `calibration_curve`, which returns no counts: intervals need them.

    Args:
        probability: Predicted probability of the positive class in [0, 1], shape (n,).
        target: True class, bool, shape (n,).
        n_bins: Number of bins of equal width in [0, 1].

    Returns:
        (mean probability, number of positives, number of items) of each bin that is not empty.
    """
    probability, target = np.asarray(probability, float), np.asarray(target, bool)
    total, edges = np.histogram(probability, n_bins, (0, 1))
    positives, _ = np.histogram(probability[target], edges)
    probability_sum, _ = np.histogram(probability, edges, weights=probability)
    return [(float(probability_sum[i] / total[i]), int(positives[i]), int(total[i])) for i in range(n_bins) if total[i]]


def correlation(x: npt.ArrayLike, y: npt.ArrayLike, kind: str, **options: Unpack[BootstrapOptions]) -> Interval | None:
    """Compute a correlation with a percentile interval over pairs (Efron & Tibshirani 1993, section 13.3).

    A resample in which x or y is constant is undefined, as in `bootstrap`. Deterministic in `seed`.

    Args:
        x: First value of each pair (label), shape (n,).
        y: Second value of each pair, shape (n,).
        kind: "pearson" or "spearman".
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        Correlation in [-1, 1], or None for fewer than three pairs or a constant x or y.

    Raises:
        ValueError: The shapes differ, or `kind` is unknown.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"correlation needs pairs, got {x.shape} and {y.shape}")
    estimate = float(_correlations(x[None], y[None], kind)[0]) if len(x) > 2 else math.nan
    if not math.isfinite(estimate):
        return None
    draws = np.random.default_rng(options["seed"]).integers(len(x), size=(options["samples"], len(x)))
    return _percentile_interval(estimate, _correlations(x[draws], y[draws], kind), options.get("confidence", 0.95))


def _correlations(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Correlate the rows of x and y (samples, n) in one vectorized pass; nan where one side is constant."""
    if kind == "spearman":
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=1), rankdata(y, axis=1)
    elif kind != "pearson":
        raise ValueError(f"correlation {kind!r} is not one of pearson, spearman")
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    length = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.clip(np.where(constant, np.nan, (x * y).sum(axis=1) / np.where(constant, 1, length)), -1, 1)


def fleiss_kappa(
    counts: npt.ArrayLike, clusters: npt.ArrayLike, **options: Unpack[BootstrapOptions]
) -> Interval | None:
    """Compute Fleiss' kappa of inter-rater agreement, bootstrapped by cluster (video).

    With the same number of raters per item this is Fleiss' kappa (1971, Psychological Bulletin 76:378), equal to
    `statsmodels.stats.inter_rater.fleiss_kappa`. That function rejects items with different numbers of raters; here
    every item has the same weight (Gwet 2014, Handbook of Inter-Rater Reliability).

    Args:
        counts: Number of raters per item and category, shape (items, categories). Items with fewer than two raters
            are ignored.
        clusters: Cluster of each item (its video), shape (items,).
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        Kappa, at most 1, or None where no item has two raters or all ratings are of one category.
    """
    counts = np.asarray(counts, float)
    raters = counts.sum(axis=1)
    repeated = raters >= 2
    if not repeated.any() or (counts[repeated].sum(axis=0) > 0).sum() < 2:
        return None
    counts, raters = counts[repeated], raters[repeated]
    agreement = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))

    def kappa(means: np.ndarray) -> np.ndarray:
        chance = (means[..., 1:] ** 2).sum(axis=-1)
        return np.where(chance < 1 - 1e-12, (means[..., 0] - chance) / np.maximum(1 - chance, 1e-12), np.nan)

    return bootstrap(
        np.column_stack([agreement, counts / raters[:, None]]),
        np.asarray(clusters)[repeated],
        kappa,
        **options,
    )


def bootstrap_quantiles(
    values: npt.ArrayLike, clusters: npt.ArrayLike, levels: Sequence[float], **options: Unpack[BootstrapOptions]
) -> list[Interval]:
    """Compute quantiles (inverted CDF) with percentile intervals by the cluster bootstrap.

    Deterministic in `seed` and, except for ties, independent of the order of the rows.

    Args:
        values: Values, shape (n,).
        clusters: Cluster of each value (its participant), shape (n,).
        levels: Quantile levels in (0, 1).
        **options: `samples`, `seed` and `confidence` of `bootstrap`.

    Returns:
        One interval per level; unbounded for fewer than two clusters.

    Raises:
        ValueError: There is no value, or `values` and `clusters` differ in length.
    """
    values, clusters = np.asarray(values, float), np.asarray(clusters)
    if not len(values) or len(values) != len(clusters):
        raise ValueError(f"quantiles need values and a cluster per value, got {len(values)} and {len(clusters)}")
    order = np.argsort(values, kind="stable")
    values = values[order]
    _, cluster_index = np.unique(clusters[order], return_inverse=True)
    num_clusters = int(cluster_index.max()) + 1

    def weighted_quantiles(weights: np.ndarray) -> np.ndarray:
        cumulative = np.cumsum(weights[..., cluster_index], axis=-1)
        required = np.multiply.outer(cumulative[..., -1], levels)
        return values[(cumulative[..., None, :] < required[..., None] - 1e-9).sum(axis=-1)]

    estimates = weighted_quantiles(np.ones(num_clusters))
    if num_clusters < 2:
        return [Interval(float(e), -math.inf, math.inf) for e in estimates]
    rng, chunks, chunk_size = (
        np.random.default_rng(options["seed"]),
        [],
        max(1, 2_000_000 // len(values)),
    )  # bounds the memory
    for start in range(0, options["samples"], chunk_size):
        size = min(chunk_size, options["samples"] - start)
        chunks.append(
            weighted_quantiles(rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=size))
        )
    columns = np.concatenate(chunks).T
    confidence = options.get("confidence", 0.95)
    return [_percentile_interval(float(e), c, confidence) for e, c in zip(estimates, columns, strict=True)]
