"""Table 1, Table 2, Figure 1, Figure 3 and more, with intervals and tests; one page that stands alone (section 4.4).

Reads what the other stages wrote and nothing else, so it can be rerun in seconds. What is missing is said on the page.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from synesthesia import tracking
from synesthesia.analysis import headline, html_report, human_tables, metrics, results
from synesthesia.analysis import tables as tabulate
from synesthesia.analysis.figures import paper, render
from synesthesia.config import Config
from synesthesia.pipeline import stage_cli

OUTPUT_DIR = Path("out/report")


def run(config: Config) -> None:
    """Write out/report: index.html, metrics.json, figures/*.{png,svg}, tables/*.csv; same study, same bytes."""
    with tracking.start_run("report") as session:
        write_report(config)
        session.finish(stage_cli.require_record(build_record(config, None)))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "index.html").exists():
        return None
    return tracking.Record(
        stage="report",
        parameters=tracking.flatten(config.report),
        metrics=tracking.flatten(json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8"))),
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
    """The work itself."""
    whole = results.load_results(config)
    tables = tabulate.build_tables(whole) | human_tables.build_human_tables(whole)
    found = headline.compute_headlines(whole)
    numbers = metrics.build_metrics(whole, found, tables)
    files: dict[str, bytes] = {}
    pictures = []
    for drawing in render.render_figures(whole, tables):
        svg = paper.encode_figure(drawing.figure, drawing.name, "svg")
        files[f"figures/{drawing.name}.svg"] = svg
        files[f"figures/{drawing.name}.png"] = paper.encode_figure(drawing.figure, drawing.name, "png")
        pictures.append({"name": drawing.name, "alt_text": drawing.alt_text, "svg": svg})
    for name, frame in tables.items():
        files[f"tables/{name}.csv"] = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    files["index.html"] = html_report.render_page(whole, tables, found, pictures).encode()
    files["metrics.json"] = (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode()
    for folder in ("figures", "tables"):  # nothing of an older study stays
        shutil.rmtree(OUTPUT_DIR / folder, ignore_errors=True)
    for name, content in files.items():
        (OUTPUT_DIR / name).parent.mkdir(parents=True, exist_ok=True)
        (OUTPUT_DIR / name).write_bytes(content)


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
