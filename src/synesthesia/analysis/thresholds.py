"""Check guarded metrics against their minimum values: `python -m synesthesia.analysis.thresholds` (for CI).

Reads `report.thresholds` of params.yaml (dotted keys of out/report/metrics.json, minimum values), prints each with its
value and exits with 1 if a metric is below its minimum, missing or not a number.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from synesthesia import config
from synesthesia.analysis.tables import flatten


def check_thresholds(metrics: dict, thresholds: dict[str, float]) -> list[tuple[str, float | None, float, bool]]:
    """Compare metrics with their thresholds.

    Args:
        metrics: Nested metrics, as in metrics.json.
        thresholds: Minimum value by dotted key; keys of metrics may themselves contain dots.

    Returns:
        (key, value or None where it is missing, threshold, whether it passes) for each threshold.
    """
    flat_metrics = flatten(metrics)
    checks = []
    for key, threshold in thresholds.items():
        value = flat_metrics.get(key)
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        checks.append((key, number, threshold, number is not None and number >= threshold))
    return checks


def main(argv: list[str] | None = None) -> int:
    """Print every threshold with its metric.

    Args:
        argv: Command-line arguments; None for those of the process.

    Returns:
        Exit status: 0 if all metrics pass, else 1.
    """
    parser = argparse.ArgumentParser(description="Check guarded metrics against their minimum values.")
    parser.add_argument("--params", default="params.yaml", help="parameters file (default: params.yaml)")
    parser.add_argument(
        "--metrics", default="out/report/metrics.json", help="metrics file (default: out/report/metrics.json)"
    )
    arguments = parser.parse_args(argv)
    try:
        thresholds = config.load(arguments.params).report.thresholds
        metrics = json.loads(Path(arguments.metrics).read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{arguments.metrics} is missing: run `dvc repro report` first", file=sys.stderr)
        return 1
    except (config.ConfigError, ValueError) as error:
        print(f"cannot check thresholds: {error}", file=sys.stderr)
        return 1
    checks = check_thresholds(metrics if isinstance(metrics, dict) else {}, thresholds)
    for key, value, threshold, passes in checks:
        value_text = "missing" if value is None else f"{value:.4f}"
        print(f"{'ok  ' if passes else 'FAIL'}  {key}: {value_text}, minimum {threshold:g}")
    if not checks:
        print("report.thresholds is empty: no metric is checked")
    return 0 if all(passes for *_, passes in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
