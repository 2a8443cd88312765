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
from synesthesia.config import Config, CurateConfig
from synesthesia.data import decode_jobs, executors, media, store
from synesthesia.data.catalogs import manifest as plans
from synesthesia.data.catalogs.manifest import ClipEntry, Manifest
from synesthesia.data.catalogs.splits import check_split_sizes
from synesthesia.data.decode_jobs import DecodeJob, JobResult
from synesthesia.pipeline import stage_cli

OUTPUT_DIR, CACHE_DIR = Path("out/curate"), Path("out/.partial/curate")
DECODE_PARAMS = ("rate", "seconds", "shortest_seconds", "frames_per_second", "largest_pixels", "jpeg_quality")


class CurateError(ValueError):
    """The clips cannot become a study; the message says why."""


def run(config: Config, workers: int | None = None) -> None:
    """Write all outs of the stage; `workers` processes decode (default: one a processor) to the same outs."""
    plan = plans.build_manifest(config)
    for note in plan.warnings:
        print(f"curate: {note}", file=sys.stderr)
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    with tracking.start_run("curate") as session, _exclusive_lock(CACHE_DIR):
        made = _decode_clips(plan.items, config.curate, workers)
        _write_outputs(plan, made, config.curate)
        shutil.rmtree(CACHE_DIR)
        session.finish(build_record(config, None))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """What this stage tells MLflow, from its outs alone."""
    if not (OUTPUT_DIR / "counts.json").exists() or not (OUTPUT_DIR / "damaged.parquet").exists():
        return None
    counts = tracking.flatten(json.loads((OUTPUT_DIR / "counts.json").read_text(encoding="utf-8")))
    return tracking.Record(
        stage="curate",
        parameters=tracking.flatten({"data": config.data, "curate": config.curate}),
        metrics={k: float(v) for k, v in counts.items() if isinstance(v, int | float)},
        artifacts=[OUTPUT_DIR / "damaged.parquet", OUTPUT_DIR / "counts.json"],
        inputs=["data"],
    )


def _decode_clips(
    entries: list[ClipEntry], curate_config: CurateConfig, num_workers: int | None, decode_fn: Callable = media.decode
) -> list:
    """Chunks of clips in order, each with its summary: those that `PARTIAL` has already, and the others made now."""
    settings = {key: getattr(curate_config, key) for key in DECODE_PARAMS}
    cut = decode_jobs.split_jobs(entries, curate_config.clips_per_shard, settings)
    names = {chunk.name for chunk in cut}
    for path in CACHE_DIR.iterdir():
        if path.stem not in names or path.suffix == ".tmp":
            _remove(path)
    todo = [chunk for chunk in cut if decode_jobs.load_result(chunk, CACHE_DIR) is None]
    if todo:
        left = sum(len(chunk.items) for chunk in todo)
        with tqdm(total=len(entries), initial=len(entries) - left, unit="clip", desc="curate", smoothing=0.05) as bar:
            executors.load_executor(curate_config.executor).run(
                todo, CACHE_DIR, settings, num_workers, bar.update, decode_fn
            )
    return [(chunk, decode_jobs.load_result(chunk, CACHE_DIR)) for chunk in cut]


def _write_outputs(
    manifest: Manifest, job_results: list[tuple[DecodeJob, JobResult]], curate_config: CurateConfig
) -> None:
    """Put the shards in their place, then the tables that point into them."""
    full = [(chunk, summary) for chunk, summary in job_results if summary.shard.clips]
    aside = manifest.rejected + [row for _, summary in job_results for row in summary.rejected]
    kept = [
        (item, number, row)
        for number, (chunk, summary) in enumerate(full)
        for item, row in zip(chunk.items, summary.rows, strict=True)
        if row is not None
    ]
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(row["reason"] for row in aside).most_common(5))
        raise CurateError(f"not one of {len(manifest.items)} files is a usable clip ({reasons}): look at the files")
    pairs = [(label, item.split) for item, _, _ in kept if item.dataset == "vggsound" for label in item.labels]
    check_split_sizes(
        manifest.frequencies["vggsound"], pairs, curate_config.analysis_clips_per_label, "that are usable"
    )
    shards = [(CACHE_DIR / f"{chunk.name}.arrow", summary.shard) for chunk, summary in full]
    prepared = CACHE_DIR / "store"
    store.publish(prepared, OUTPUT_DIR / "store", store.collect_shards(shards, prepared))
    aside.sort(key=lambda row: (row["file"], row["clip_id"] or ""))
    schemas.write(_make_clip_table(kept), OUTPUT_DIR / "clips.parquet", schemas.CLIP)
    schemas.write(
        schemas.from_rows(aside, schemas.REJECTED, "damaged"), OUTPUT_DIR / "damaged.parquet", schemas.REJECTED
    )
    _write_json(manifest.frequencies, OUTPUT_DIR / "labels.json")
    _write_json(
        _count_clips(manifest, Counter(item.split for item, _, _ in kept), aside, len(full)), OUTPUT_DIR / "counts.json"
    )


def _make_clip_table(usable_clips: list[tuple[ClipEntry, int, int]]) -> pa.Table:
    columns = {
        name: [getattr(item, name) for item, _, _ in usable_clips] for name in ("clip_id", "video_id", "dataset")
    }
    columns |= {
        "labels": [list(item.labels) for item, _, _ in usable_clips],
        "split": [item.split for item, _, _ in usable_clips],
    }
    columns |= {"shard": [shard for _, shard, _ in usable_clips], "row": [row for _, _, row in usable_clips]}
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schemas.CLIP})


def _count_clips(manifest: Manifest, usable_by_split: Counter, rejected: list[dict], num_shards: int) -> dict:
    files = Counter(item.split for item in manifest.items)
    return {
        **manifest.counts,
        "splits": {s: {"files": files[s], "usable": usable_by_split[s]} for s in schemas.SPLITS if files[s]},
        "put_aside": dict(sorted(Counter(row["reason"] for row in rejected).items())),
        "clips": usable_by_split.total(),
        "shards": num_shards,
    }


def _write_json(values: dict, path: Path) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
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

    stage_cli.main(run, __doc__, add_arguments=arguments)


if __name__ == "__main__":
    main()
