"""Decide for every finetune clip who teaches, in both directions (paper section 4.1).

`learned` follows the switch: the eyes teach the ears where it expects the visual model to be better, and the ears
teach the eyes elsewhere. The other modes are controls: `always` and `never` close or open both directions on all
clips, `random` closes each on as many clips as the switch would, `true_gap` follows the label's measured gap.

Examples:
  python -m synesthesia.pipeline.route
  dvc exp run -S route.mode=true_gap
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from synesthesia import schemas, tracking
from synesthesia.config import Config, RouteConfig
from synesthesia.pipeline import stage_cli

OUTPUT_DIR = Path("out/route")


def run(config: Config) -> None:
    """Write out/route/route.parquet and metrics.json."""
    with tracking.start_run("route") as session:
        clips = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()
        gap = schemas.read("out/gap/gap.parquet", schemas.GAP)
        better = dict(zip(gap["label"].to_pylist(), gap["visual_better"].to_pylist(), strict=True))
        heard = pq.read_table("out/switch/predictions.parquet", columns=["clip_id", "visual_better_probability"])
        probability = dict(zip(*(heard[c].to_pylist() for c in heard.column_names), strict=True))
        finetune = [c for c in clips if c["split"] == "finetune"]
        rows = route_clips(finetune, better, probability, config.route)
        table = schemas.from_rows(rows, schemas.ROUTE, "route")
        OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
        schemas.write(table, OUTPUT_DIR / "route.parquet", schemas.ROUTE)
        agrees = [r["visual_teaches"] == better.get(c["labels"][0], False) for r, c in zip(rows, finetune, strict=True)]
        metrics = {
            "clips": len(rows),
            "visual_teaches_share": sum(r["visual_teaches"] for r in rows) / len(rows),
            "audio_teaches_share": sum(r["audio_teaches"] for r in rows) / len(rows),
            "agrees_with_gap": sum(agrees) / len(rows),
        }
        (OUTPUT_DIR / "metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        session.finish(build_record(config, None))


def route_clips(
    clips: list[dict], visual_better: dict[str, bool], probabilities: dict[str, float], route_config: RouteConfig
) -> list[dict]:
    """Rows of tables.ROUTE for finetune clips.

    better: label -> the visual model was better on analysis; probability: clip_id -> the switch's. A clip that the
    switch has not heard (no analysis clip of its label survived) teaches nobody.
    """
    said = {c["clip_id"]: probabilities.get(c["clip_id"]) for c in clips}
    closed = {k: p is not None and p > route_config.threshold for k, p in said.items()}
    share = sum(closed.values()) / max(1, sum(p is not None for p in said.values()))
    rows = []
    for clip in clips:
        clip_id, known = clip["clip_id"], said[clip["clip_id"]] is not None
        if route_config.mode == "learned":
            visual, audio = closed[clip_id], known and not closed[clip_id]
        elif route_config.mode == "true_gap":
            label = clip["labels"][0]
            visual, audio = visual_better.get(label, False), label in visual_better and not visual_better[label]
        elif route_config.mode == "random":
            visual = known and hash_uniform(route_config.seed, clip_id, "visual") < share
            audio = known and hash_uniform(route_config.seed, clip_id, "audio") < 1 - share
        else:
            visual = audio = route_config.mode == "always"
        rows.append(
            {
                "clip_id": clip_id,
                "visual_better_probability": said[clip_id],
                "visual_teaches": visual,
                "audio_teaches": audio,
            }
        )
    return rows


def hash_uniform(seed: int, *keys: str) -> float:
    """A number in [0, 1) that follows from the seed and the names alone."""
    digest = hashlib.sha256("/".join([str(seed), *keys]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUTPUT_DIR / "metrics.json").exists() or not (OUTPUT_DIR / "route.parquet").exists():
        return None
    return tracking.Record(
        stage="route",
        parameters=tracking.flatten(config.route),
        metrics=json.loads((OUTPUT_DIR / "metrics.json").read_text()),
        artifacts=[OUTPUT_DIR / "route.parquet"],
        inputs=["out/switch/predictions.parquet", "out/gap/gap.parquet"],
    )


if __name__ == "__main__":
    stage_cli.main(run, __doc__)
