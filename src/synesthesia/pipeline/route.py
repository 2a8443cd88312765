"""Decide per finetune clip which model teaches, in both directions (paper section 4.1).

Mode `learned` follows the switch: the visual model teaches the audio model where the switch predicts that the visual
model is better, and the audio model teaches elsewhere. The other modes are controls: `always` and `never` close or open
both directions on all clips, `random` closes each on as many clips as the switch does, `true_gap` follows the label's
measured gap.

Examples:
  python -m synesthesia.pipeline.route
  dvc exp run -S route.mode=true_gap
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from synesthesia import schemas, tracking
from synesthesia.config import Config
from synesthesia.distillation.routing import route_clips, summarize_routes
from synesthesia.pipeline import stage_cli
from synesthesia.utils import io

OUTPUT_DIR = Path("out/route")


def run(config: Config) -> None:
    """Write out/route/route.parquet and out/route/metrics.json.

    Args:
        config: The configuration.
    """
    with tracking.start_run("route") as session:
        clips = schemas.select_split(schemas.read("out/curate/clips.parquet", schemas.CLIP), "finetune").to_pylist()
        gap = schemas.read("out/measure_gap/gap.parquet", schemas.GAP)
        visual_better = dict(zip(gap["label"].to_pylist(), gap["visual_better"].to_pylist(), strict=True))
        columns = ["clip_id", "visual_better_probability"]
        predictions = pq.read_table("out/train_switch/predictions.parquet", columns=columns)
        probabilities = dict(zip(*(predictions[c].to_pylist() for c in columns), strict=True))
        rows = route_clips(clips, visual_better, probabilities, config.route)
        schemas.write(schemas.from_rows(rows, schemas.ROUTE, "route"), OUTPUT_DIR / "route.parquet", schemas.ROUTE)
        metrics = summarize_routes(rows, clips, visual_better)
        io.write_atomic(OUTPUT_DIR / "metrics.json", json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        session.finish(stage_cli.require_record(build_record(config, None)))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "route.parquet").exists():
        return None
    return tracking.Record(
        stage="route",
        parameters=tracking.flatten(config.route),
        metrics=json.loads((OUTPUT_DIR / "metrics.json").read_text(encoding="utf-8")),
        artifacts=[OUTPUT_DIR / "route.parquet"],
        inputs=["out/train_switch/predictions.parquet", "out/measure_gap/gap.parquet"],
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
