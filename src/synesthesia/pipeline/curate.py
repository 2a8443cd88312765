"""curate: decode every clip once, clean the labels, put damaged files aside, take analysis out of train.

    data/*.csv, data/**   ->   out/curate/clips.parquet     every usable clip: labels, split, where the store has it
                               out/curate/store/            16 kHz sound and one frame a second, in shards
                               out/curate/damaged.parquet   every clip or file put aside, with the reason
                               out/curate/labels.json       how often each label is listed (distractors follow it)
                               out/curate/counts.json       counts before and after each rule

Clips are decoded in chunks of curate.shard_clips, and a chunk becomes a shard. Finished chunks wait in
out/.partial/curate: a run that was killed goes on behind the last of them, and ends with the same bytes. With
curate.engine: ray the chunks are made by a Ray cluster (src/synesthesia/data/executors/ray.py), to the same bytes again.

Examples:
    python -m synesthesia.pipeline.curate
    python -m synesthesia.pipeline.curate --workers 1
    python -m synesthesia.pipeline.curate --params params/paper.yaml --workers 16
    RAY_ADDRESS=10.0.0.1:6379 python -m synesthesia.pipeline.curate       with curate.engine: ray
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from synesthesia import schemas, tracking
from synesthesia.config import Curate, Params
from synesthesia.data import decode_jobs, executors, media, store
from synesthesia.data.catalogs import manifest as plans
from synesthesia.data.catalogs.manifest import Item, Plan
from synesthesia.data.catalogs.splits import require_enough
from synesthesia.data.decode_jobs import Chunk, Summary
from synesthesia.pipeline import stage_cli

OUT, PARTIAL = Path("out/curate"), Path("out/.partial/curate")
DECODED = ("rate", "seconds", "shortest_seconds", "frames_per_second", "largest_pixels", "jpeg_quality")


class CurateError(ValueError):
    """The clips cannot become a study; the message says why."""


def run(params: Params, workers: int | None = None) -> None:
    """Write all outs of the stage; `workers` processes decode (default: one a processor) to the same outs."""
    plan = plans.make(params)
    for note in plan.notes:
        print(f"curate: {note}", file=sys.stderr)
    OUT.mkdir(parents=True, exist_ok=True)
    with tracking.session("curate") as session, _alone(PARTIAL):
        made = _decode(plan.items, params.curate, workers)
        _write(plan, made, params.curate)
        shutil.rmtree(PARTIAL)
        session.finish(record(params, None))


def record(params: Params, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUT / "counts.json").exists() or not (OUT / "damaged.parquet").exists():
        return None
    counts = tracking.flatten(json.loads((OUT / "counts.json").read_text(encoding="utf-8")))
    return tracking.Record(
        stage="curate",
        parameters=tracking.flatten({"data": params.data, "curate": params.curate}),
        metrics={k: float(v) for k, v in counts.items() if isinstance(v, int | float)},
        artifacts=[OUT / "damaged.parquet", OUT / "counts.json"],
        inputs=["data"],
    )


def _decode(items: list[Item], curate: Curate, count: int | None, decode: Callable = media.decode) -> list:
    """Chunks of clips in order, each with its summary: those that `PARTIAL` has already, and the others made now."""
    settings = {key: getattr(curate, key) for key in DECODED}
    cut = decode_jobs.cut(items, curate.shard_clips, settings)
    names = {chunk.name for chunk in cut}
    for path in PARTIAL.iterdir():
        if path.stem not in names or path.suffix == ".tmp":
            _remove(path)
    todo = [chunk for chunk in cut if decode_jobs.finished(chunk, PARTIAL) is None]
    if todo:
        left = sum(len(chunk.items) for chunk in todo)
        with tqdm(total=len(items), initial=len(items) - left, unit="clip", desc="curate", smoothing=0.05) as bar:
            executors.load(curate.engine).run(todo, PARTIAL, settings, count, bar.update, decode)
    return [(chunk, decode_jobs.finished(chunk, PARTIAL)) for chunk in cut]


def _write(plan: Plan, made: list[tuple[Chunk, Summary]], curate: Curate) -> None:
    """Put the shards in their place, then the tables that point into them."""
    full = [(chunk, summary) for chunk, summary in made if summary.shard.clips]
    aside = plan.aside + [row for _, summary in made for row in summary.aside]
    kept = [
        (item, number, row)
        for number, (chunk, summary) in enumerate(full)
        for item, row in zip(chunk.items, summary.rows, strict=True)
        if row is not None
    ]
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(row["reason"] for row in aside).most_common(5))
        raise CurateError(f"not one of {len(plan.items)} files is a usable clip ({reasons}): look at the files")
    pairs = [(label, item.split) for item, _, _ in kept if item.dataset == "vggsound" for label in item.labels]
    require_enough(plan.frequencies["vggsound"], pairs, curate.analysis_clips_a_label, "that are usable")
    shards = [(PARTIAL / f"{chunk.name}.arrow", summary.shard) for chunk, summary in full]
    prepared = PARTIAL / "store"
    store.publish(prepared, OUT / "store", store.gather(shards, prepared))
    aside.sort(key=lambda row: (row["file"], row["clip_id"] or ""))
    schemas.write(_clips(kept), OUT / "clips.parquet", schemas.CLIP)
    schemas.write(schemas.from_rows(aside, schemas.DAMAGED, "damaged"), OUT / "damaged.parquet", schemas.DAMAGED)
    _json(plan.frequencies, OUT / "labels.json")
    _json(_counts(plan, Counter(item.split for item, _, _ in kept), aside, len(full)), OUT / "counts.json")


def _clips(kept: list[tuple[Item, int, int]]) -> pa.Table:
    columns = {name: [getattr(item, name) for item, _, _ in kept] for name in ("clip_id", "video_id", "dataset")}
    columns |= {"labels": [list(item.labels) for item, _, _ in kept], "split": [item.split for item, _, _ in kept]}
    columns |= {"shard": [shard for _, shard, _ in kept], "row": [row for _, _, row in kept]}
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schemas.CLIP})


def _counts(plan: Plan, usable: Counter, aside: list[dict], shards: int) -> dict:
    files = Counter(item.split for item in plan.items)
    return {
        **plan.counts,
        "splits": {s: {"files": files[s], "usable": usable[s]} for s in schemas.SPLITS if files[s]},
        "put_aside": dict(sorted(Counter(row["reason"] for row in aside).items())),
        "clips": usable.total(),
        "shards": shards,
    }


def _json(values: dict, path: Path) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock, so that two runs never write there together."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CurateError("another curate is at work in this folder: wait for it, or stop it first") from None
        folder.mkdir(parents=True, exist_ok=True)
        yield


def main() -> None:
    """Command line."""

    def arguments(parser):
        parser.add_argument("--workers", type=int, metavar="N", help="decoding processes (default: one a processor)")

    stage_cli.main(run, __doc__, arguments=arguments)


if __name__ == "__main__":
    main()
