"""Write the report: Tables 1 and 2, Figures 1 and 3 and more, with intervals and tests, as one self-contained page.

Reads only the outputs of other stages, so that it can be rerun in seconds. The page names what is missing.
See paper section 4.4.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

from synesthesia import tracking
from synesthesia.analysis import headline, html_report, human_tables, loading, metrics, tables
from synesthesia.analysis.figures import render, style
from synesthesia.config import Config
from synesthesia.pipeline import stage_cli

OUTPUT_DIR = Path("out/report")


def run(config: Config) -> None:
    """Write out/report: index.html, metrics.json, figures/*.{png,svg}, tables/*.csv; equal inputs give equal bytes.

    Args:
        config: The configuration.
    """
    with tracking.start_run("report") as session:
        write_report(config)
        session.finish(stage_cli.require_record(build_record(config, None)))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "index.html").exists():
        return None
    values = tracking.flatten(json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8")))
    return tracking.Record(
        stage="report",
        parameters=tracking.flatten(config.report),
        metrics=cast("dict[str, float]", values),
        artifacts=[OUTPUT_DIR / "index.html", OUTPUT_DIR / "figures", OUTPUT_DIR / "tables"],
        inputs=[
            "out/evaluate",
            "out/evaluate_students",
            "out/measure_gap",
            "out/train_switch/predictions.parquet",
            "out/route",
        ],
    )


def write_report(config: Config) -> None:
    """Compute the tables, figures and metrics, and write all files of the report.

    Args:
        config: The configuration.
    """
    results = loading.load_results(config)
    frames = tables.build_tables(results) | human_tables.build_human_tables(results)
    headlines = headline.compute_headlines(results)
    values = metrics.build_metrics(results, headlines, frames)
    files: dict[str, bytes] = {}
    figures = []
    for figure in render.render_figures(results, frames):
        svg = style.encode_figure(figure.figure, figure.name, "svg")
        files[f"figures/{figure.name}.svg"] = svg
        files[f"figures/{figure.name}.png"] = style.encode_figure(figure.figure, figure.name, "png")
        figures.append({"name": figure.name, "alt_text": figure.alt_text, "svg": svg})
    for name, frame in frames.items():
        files[f"tables/{name}.csv"] = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    files["index.html"] = html_report.render_page(results, frames, headlines, figures).encode()
    files["metrics.json"] = (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()
    for folder in ("figures", "tables"):  # files of an earlier study must not remain
        shutil.rmtree(OUTPUT_DIR / folder, ignore_errors=True)
    for name, content in files.items():
        (OUTPUT_DIR / name).parent.mkdir(parents=True, exist_ok=True)
        (OUTPUT_DIR / name).write_bytes(content)


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
