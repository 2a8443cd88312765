"""Intervals, paired tests and corrections: how sure the study may be of each of its figures.

Everything is about answers that are right or wrong; an answer that cannot be read as a letter is wrong. Shares and
differences are in [0, 1] and [-1, 1], not in per cent. Clips cut from one video are not independent, so differences
are resampled by video, not by clip. No torch, no tables: numpy arrays in, small frozen objects out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; `low` and `high` are infinite where the data set no bound."""

    estimate: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def is_correct(choice: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Which answers are right, [n] bool; a null choice (nan) could not be read and is wrong."""
    choice = np.asarray(choice, dtype=float)
    return np.isfinite(choice) & (choice == np.asarray(target, dtype=float))


def wilson(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """The score interval of one proportion (Wilson 1927, JASA 22:209); always within [0, 1], around the estimate.

    Raises ValueError when there is nothing to count, or more right answers than answers.
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} right of {total} answers is not a proportion")
    from statsmodels.stats.proportion import proportion_confint  # a second: who only reads answers is spared it

    low, high = proportion_confint(correct, total, alpha=1 - confidence, method="wilson")
    share = correct / total
    return Interval(share, float(max(0.0, min(low, share))), float(min(1.0, max(high, share))))


def bootstrap(
    columns: np.ndarray,
    clusters: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    samples: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of any function of column means, resampling whole clusters (Davison & Hinkley 1997, 3.8).

    `columns` [n, k] holds k numbers an item, `clusters` [n] names each item's cluster (its video), `statistic` maps
    means [..., k] to values [...] and returns nan where it is undefined. An undefined resample counts as lower *and*
    higher than all others, so an interval is infinite where too many are. Fewer than two clusters bound nothing.

    Drawing v clusters with replacement is drawing multinomial counts; clusters with equal sums are exchangeable, so
    the draw is over the few distinct ones: exact, and fast with any number of videos. Deterministic in `seed`, and
    independent of the order of the rows.
    """
    columns = np.asarray(columns, dtype=float)
    if columns.ndim != 2 or not len(columns) or len(columns) != len(clusters):
        raise ValueError(f"bootstrap needs items x columns and a cluster each, got {columns.shape}, {len(clusters)}")
    estimate = float(statistic(columns.mean(axis=0)))
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    number = int(which.max()) + 1
    if number < 2 or not math.isfinite(estimate):
        return Interval(estimate, -math.inf, math.inf)
    sums = [np.bincount(which, weights=column, minlength=number) for column in columns.T]
    kinds, count = np.unique(np.column_stack([*sums, np.bincount(which)]), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(number, count / number, size=samples)
    totals = draws @ kinds
    values = statistic(totals[:, :-1] / totals[:, -1:])
    return _percentile_interval(estimate, values, confidence)


def _percentile_interval(estimate: float, values: np.ndarray, confidence: float) -> Interval:
    """Percentile interval out of resampled values; an undefined one counts as lower and higher than all others."""
    undefined = ~np.isfinite(values)
    tail = (1 - confidence) / 2
    low = np.quantile(np.where(undefined, -np.inf, values), tail, method="lower")
    high = np.quantile(np.where(undefined, np.inf, values), 1 - tail, method="higher")
    return Interval(estimate, float(low), float(high))


def accuracy_difference(before: np.ndarray, after: np.ndarray, video_ids: np.ndarray, **bootstrap_options) -> Interval:
    """Accuracy after minus before on the same questions, [-1, 1]; paired, by video. `how` goes to `bootstrap`."""
    return bootstrap(np.column_stack([before, after]), video_ids, lambda m: m[..., 1] - m[..., 0], **bootstrap_options)


def gain_ratio(columns: np.ndarray, video_ids: np.ndarray, **bootstrap_options) -> Interval | None:
    """(b - a) / (d - c) of four paired columns [n, 4] of right answers; None where d does not exceed c.

    With a, b = before, after and c, d = before, after with ground truth it is section 4.4's "84 % of what ground
    truth would have gained"; with d the teacher, it is the "125 % of the teacher's lead".
    """

    def share(means: np.ndarray) -> np.ndarray:
        lead = means[..., 3] - means[..., 2]
        return np.where(lead > 1e-12, (means[..., 1] - means[..., 0]) / np.where(lead > 1e-12, lead, 1), np.nan)

    interval = bootstrap(columns, video_ids, share, **bootstrap_options)
    return interval if math.isfinite(interval.estimate) else None


def balanced_accuracy(
    predicted: np.ndarray, target: np.ndarray, video_ids: np.ndarray, **bootstrap_options
) -> Interval | None:
    """Mean of the two classes' accuracies for a yes/no decision, [0, 1]; None where only one class occurs."""
    predicted, target = np.asarray(predicted, bool), np.asarray(target, bool)
    if target.all() or not target.any():
        return None
    columns = np.column_stack([predicted & target, target, ~predicted & ~target, ~target])

    def mean_of_classes(means: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (means[..., 0] / means[..., 1] + means[..., 2] / means[..., 3]) / 2

    return bootstrap(columns, video_ids, mean_of_classes, **bootstrap_options)


@dataclass(frozen=True)
class McNemarResult:
    """McNemar's test of before and after: how many questions turned right, how many turned wrong, two-sided p."""

    n_improved: int
    n_worsened: int
    p_value: float


def mcnemar(before: np.ndarray, after: np.ndarray) -> McNemarResult:
    """Exact test on the same questions (McNemar 1947, Psychometrika 12:153): only those that changed count."""
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    if before.shape != after.shape:
        raise ValueError(f"before and after must be the same questions: {before.shape} and {after.shape}")
    from statsmodels.stats.contingency_tables import mcnemar as mcnemar_test

    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    table = [[int((before & after).sum()), lost], [gained, int((~before & ~after).sum())]]
    return McNemarResult(gained, lost, float(mcnemar_test(table, exact=True).pvalue))


def holm_correction(p_values: np.ndarray) -> np.ndarray:
    """P values of one family of tests, corrected for their number (Holm 1979, Scand. J. Stat. 6:65); nan stays nan."""
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = np.maximum.accumulate(
        p_values[order] * np.arange(len(order), 0, -1)
    )  # statsmodels takes 0.1 s for the same
    corrected[order] = np.minimum(steps, 1)
    return corrected


def roc_curve(score: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """False and true positive rates at every threshold, and the area under the curve; None with one class only.

    Equal scores are one threshold, so the area is the probability that a positive scores higher, ties half.
    """
    score, target = np.asarray(score, float), np.asarray(target, bool)
    if target.all() or not target.any():
        return None
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    true = np.concatenate([[0], np.cumsum(target[order])[last] / target.sum()])
    false = np.concatenate([[0], np.cumsum(~target[order])[last] / (~target).sum()])
    return false, true, float(np.trapezoid(true, false))


def calibration_curve(probability: np.ndarray, target: np.ndarray, n_bins: int = 10) -> list[tuple[float, int, int]]:
    """(mean probability, positives, items) of each filled bin of equal width in [0, 1] (Murphy & Winkler 1977)."""
    probability, target = np.asarray(probability, float), np.asarray(target, bool)
    which = np.minimum((probability * n_bins).astype(int), n_bins - 1)
    return [
        (float(probability[which == b].mean()), int(target[which == b].sum()), int((which == b).sum()))
        for b in range(n_bins)
        if (which == b).any()
    ]


def correlation(
    x: np.ndarray, y: np.ndarray, kind: str, *, samples: int, seed: int, confidence: float = 0.95
) -> Interval | None:
    """Pearson's or Spearman's (`kind`) correlation of x and y [n], [-1, 1], resampling the n pairs (labels).

    None below three pairs, or where x or y is constant. Percentile bootstrap over pairs (Efron & Tibshirani 1993,
    section 13.3); a resample in which x or y is constant is undefined, as in `bootstrap`. Deterministic in `seed`.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"correlation needs pairs, got {x.shape} and {y.shape}")
    estimate = float(_correlations(x[None], y[None], kind)[0]) if len(x) > 2 else math.nan
    if not math.isfinite(estimate):
        return None
    draws = np.random.default_rng(seed).integers(len(x), size=(samples, len(x)))
    return _percentile_interval(estimate, _correlations(x[draws], y[draws], kind), confidence)


def _correlations(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Correlation of each row [samples, n]; nan where one side is constant."""
    if kind == "spearman":
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=1), rankdata(y, axis=1)
    elif kind != "pearson":
        raise ValueError(f"correlation {kind!r} is not one of pearson, spearman")
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    length = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.clip(np.where(constant, np.nan, (x * y).sum(axis=1) / np.where(constant, 1, length)), -1, 1)


def fleiss_kappa(counts: np.ndarray, clusters: np.ndarray, **bootstrap_options) -> Interval | None:
    """Fleiss' kappa of raters who agree on more than chance, <= 1, resampling clusters (videos); `how` as `bootstrap`.

    `counts` [items, categories] says how many raters put the item into each category; items of fewer than two raters
    are left out. With equally many raters an item it is Fleiss' (1971, Psychological Bulletin 76:378), which
    statsmodels computes as well; where their number differs, every item weighs alike (Gwet 2014, Handbook of
    Inter-Rater Reliability). None where nothing was rated twice, or all ratings are of one category.
    """
    counts = np.asarray(counts, float)
    raters = counts.sum(axis=1)
    twice = raters >= 2
    if not twice.any() or (counts[twice].sum(axis=0) > 0).sum() < 2:
        return None
    counts, raters = counts[twice], raters[twice]
    agreed = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))

    def kappa(means: np.ndarray) -> np.ndarray:
        chance = (means[..., 1:] ** 2).sum(axis=-1)
        return np.where(chance < 1 - 1e-12, (means[..., 0] - chance) / np.maximum(1 - chance, 1e-12), np.nan)

    return bootstrap(
        np.column_stack([agreed, counts / raters[:, None]]), np.asarray(clusters)[twice], kappa, **bootstrap_options
    )


def bootstrap_quantiles(
    values: np.ndarray, clusters: np.ndarray, levels: tuple[float, ...], **bootstrap_options
) -> list[Interval]:
    """Quantiles of `values` [n] (the least value that at least the share reaches), resampling clusters (participants).

    `how` as `bootstrap`. Fewer than two clusters bound nothing. Deterministic in the seed and, but for ties, in the
    order of rows. Raises ValueError for no values.
    """
    values = np.asarray(values, float)
    if not len(values) or len(values) != len(clusters):
        raise ValueError(f"quantiles need values and a cluster each, got {len(values)} and {len(clusters)}")
    order = np.argsort(values, kind="stable")
    values = values[order]
    _, which = np.unique(np.asarray(clusters)[order], return_inverse=True)
    number = int(which.max()) + 1

    def reach(weights: np.ndarray) -> np.ndarray:
        running = np.cumsum(weights[..., which], axis=-1)
        needed = np.multiply.outer(running[..., -1], levels)
        return values[(running[..., None, :] < needed[..., None] - 1e-9).sum(axis=-1)]

    estimates = reach(np.ones(number))
    if number < 2:
        return [Interval(float(e), -math.inf, math.inf) for e in estimates]
    random, found, step = np.random.default_rng(bootstrap_options["seed"]), [], max(1, 2_000_000 // len(values))
    for start in range(0, bootstrap_options["samples"], step):  # a few million weights at once
        size = min(step, bootstrap_options["samples"] - start)
        found.append(reach(random.multinomial(number, np.full(number, 1 / number), size=size)))
    columns = np.concatenate(found).T
    return [
        _percentile_interval(float(e), c, bootstrap_options["confidence"])
        for e, c in zip(estimates, columns, strict=True)
    ]
