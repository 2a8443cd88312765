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
from synesthesia.config import Params
from synesthesia.pipeline import stage_cli

OUT = Path("out/report")


def run(params: Params) -> None:
    """Write out/report: index.html, metrics.json, figures/*.{png,svg}, tables/*.csv; same study, same bytes."""
    with tracking.session("report") as session:
        write(params)
        session.finish(record(params, None))


def record(params: Params, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUT / "metrics.json").exists() or not (OUT / "index.html").exists():
        return None
    return tracking.Record(
        stage="report",
        parameters=tracking.flatten(params.report),
        metrics=tracking.flatten(json.loads((OUT / "metrics.json").read_text(encoding="utf-8"))),
        artifacts=[OUT / "index.html", OUT / "figures", OUT / "tables"],
        inputs=["out/answer", "out/examine", "out/gap", "out/switch/predictions.parquet", "out/route"],
    )


def write(params: Params) -> None:
    """The work itself."""
    whole = results.load(params)
    tables = tabulate.everything(whole) | human_tables.everything(whole)
    found = headline.headlines(whole)
    numbers = metrics.build(whole, found, tables)
    files: dict[str, bytes] = {}
    pictures = []
    for drawing in render.draw(whole, tables):
        svg = paper.save(drawing.figure, drawing.name, "svg")
        files[f"figures/{drawing.name}.svg"] = svg
        files[f"figures/{drawing.name}.png"] = paper.save(drawing.figure, drawing.name, "png")
        pictures.append({"name": drawing.name, "says": drawing.says, "svg": svg})
    for name, frame in tables.items():
        files[f"tables/{name}.csv"] = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    files["index.html"] = html_report.render(whole, tables, found, pictures).encode()
    files["metrics.json"] = (json.dumps(numbers, indent=2, allow_nan=False) + "\n").encode()
    for folder in ("figures", "tables"):  # nothing of an older study stays
        shutil.rmtree(OUT / folder, ignore_errors=True)
    for name, content in files.items():
        (OUT / name).parent.mkdir(parents=True, exist_ok=True)
        (OUT / name).write_bytes(content)


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
