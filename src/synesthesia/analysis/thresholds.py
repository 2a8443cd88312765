"""Fail when a guarded metric fell below its bound: `python -m synesthesia.analysis.thresholds` (for CI).

Reads `report.bounds` of params.yaml (dotted keys into out/report/metrics.json, least allowed values), prints each
with its value and exits with 1 if one is below, is missing or is no number.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from synesthesia import config
from synesthesia.analysis.tables import flatten


def check_thresholds(metrics: dict, thresholds: dict[str, float]) -> list[tuple[str, float | None, float, bool]]:
    """(key, value or None where missing, bound, whether it holds) for each bound; keys may contain dots themselves."""
    flat = flatten(metrics)
    found = []
    for key, bound in thresholds.items():
        value = flat.get(key)
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        found.append((key, number, bound, number is not None and number >= bound))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print every bound with its value; 0 if all hold, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--metrics", default="out/report/metrics.json")
    given = parser.parse_args(argv)
    try:
        bounds = config.load(given.params).report.thresholds
        metrics = json.loads(Path(given.metrics).read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{given.metrics} is missing: run `dvc repro report` first", file=sys.stderr)
        return 1
    except (config.ConfigError, ValueError) as error:
        print(f"bounds cannot be checked: {error}", file=sys.stderr)
        return 1
    judged = check_thresholds(metrics if isinstance(metrics, dict) else {}, bounds)
    for key, value, bound, holds in judged:
        shown = "missing" if value is None else f"{value:.4f}"
        print(f"{'ok  ' if holds else 'FAIL'}  {key}: {shown}, at least {bound:g}")
    if not judged:
        print("report.bounds is empty: nothing is guarded")
    return 0 if all(holds for *_, holds in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
