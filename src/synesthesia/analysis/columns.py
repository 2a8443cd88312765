"""Groups of table columns: estimates with their intervals, accuracies and paired differences."""

# pandas ships no type stubs: pyright infers a union for every column expression, so these rules only report noise.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math

import pandas as pd

from synesthesia import stats
from synesthesia.analysis.results import Results
from synesthesia.stats import BootstrapOptions, Interval


def bootstrap_options(results: Results) -> BootstrapOptions:
    """Get the bootstrap's settings from `report` of params.yaml.

    Args:
        results: The study's results.

    Returns:
        Keyword arguments of `stats.bootstrap`.
    """
    report = results.config.report
    return {"samples": report.bootstrap_samples, "seed": report.seed, "confidence": report.confidence}


def interval_columns(interval: Interval | None, name: str = "") -> dict[str, float]:
    """Convert an interval to three cells.

    Args:
        interval: Interval, or None where there is none.
        name: Name of the estimate's column.

    Returns:
        `name`, `name_low` and `name_high`; nan where there is no number.
    """
    values = (interval.estimate, interval.low, interval.high) if interval else (math.nan,) * 3
    cells = dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return {key: value if math.isfinite(value) else math.nan for key, value in cells.items()}


def accuracy_columns(results: Results, answers: pd.DataFrame, prefix: str = "") -> dict[str, float]:
    """Compute the accuracy of a set of answers.

    Args:
        results: The study's results, for the confidence level.
        answers: Answers with columns correct and choice.
        prefix: Prefix of the columns.

    Returns:
        `accuracy` with its Wilson interval, `n_answers` and `n_unparseable`.
    """
    n_correct, n_answers = int(answers["correct"].sum()), len(answers)
    interval = stats.wilson(n_correct, n_answers, results.config.report.confidence) if n_answers else None
    cells = interval_columns(interval, f"{prefix}accuracy")
    return cells | {f"{prefix}n_answers": n_answers, f"{prefix}n_unparseable": int(answers["choice"].isna().sum())}


def paired_difference(results: Results, split: str, before: str, after: str) -> dict[str, float] | None:
    """Compare two respondents on the questions that both answered.

    Args:
        results: The study's results.
        split: Split, as in schemas.SPLITS.
        before: Key of the first respondent.
        after: Key of the second respondent.

    Returns:
        n_questions; accuracies before and after; difference with its interval (bootstrapped by video); n_improved,
        n_worsened and p of McNemar's test. None where no question is shared.
    """
    pair = results.pair_answers(split, before, after)
    if pair is None:
        return None
    correct_before, correct_after = pair[before].to_numpy(), pair[after].to_numpy()
    test = stats.mcnemar(correct_before, correct_after)
    interval = stats.accuracy_difference(
        correct_before, correct_after, pair["video_id"].to_numpy(), **bootstrap_options(results)
    )
    return {
        "n_questions": len(pair),
        "before": float(correct_before.mean()),
        "after": float(correct_after.mean()),
        **interval_columns(interval, "difference"),
        "n_improved": test.n_improved,
        "n_worsened": test.n_worsened,
        "p": test.p_value,
    }


def difference_columns(difference: dict[str, float] | None, prefix: str = "") -> dict[str, float]:
    """Select the difference, its interval and its p value from a comparison.

    Args:
        difference: Result of `paired_difference`.
        prefix: Prefix of the columns.

    Returns:
        `difference`, `difference_low`, `difference_high` and `p`; nan where there is no comparison.
    """
    columns = ("difference", "difference_low", "difference_high", "p")
    return {f"{prefix}{column}": difference[column] if difference else math.nan for column in columns}
