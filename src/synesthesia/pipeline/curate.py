"""Decode every clip once, filter labels, reject damaged files, and split off the analysis clips.

    data/*.csv, data/**   ->   out/curate/clips.parquet      usable clips with labels, split and position in the store
                               out/curate/store/             audio at 16 kHz and one frame per second, in shards
                               out/curate/rejected.parquet   rejected clips and files, with the reason
                               out/curate/labels.json        label frequencies in the lists, for sampling distractors
                               out/curate/counts.json        counts before and after each rule, and of muted clips

Clips are decoded in jobs of curate.clips_per_shard clips; each job writes one shard to out/.partial/curate. A run that
was killed continues with the unfinished jobs and ends with the same bytes. With `curate.executor: ray`, a Ray cluster
runs the jobs (src/synesthesia/data/executors/ray.py), with the same result.

Examples:
    python -m synesthesia.pipeline.curate
    python -m synesthesia.pipeline.curate --workers 1
    python -m synesthesia.pipeline.curate --params params/paper.yaml --workers 16
    RAY_ADDRESS=10.0.0.1:6379 python -m synesthesia.pipeline.curate       with curate.executor: ray
"""

from __future__ import annotations

import argparse
import json
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
from synesthesia.data.catalogs.manifest import ClipEntry, Manifest, build_manifest
from synesthesia.data.catalogs.splits import check_split_sizes
from synesthesia.data.decode_jobs import DecodeJob, JobResult
from synesthesia.pipeline import stage_cli
from synesthesia.utils import io

OUTPUT_DIR, CACHE_DIR = Path("out/curate"), Path("out/.partial/curate")
DECODE_PARAMS = ("sample_rate", "clip_seconds", "min_seconds", "frames_per_second", "max_pixels", "jpeg_quality")


class CurateError(ValueError):
    """Raised if the clips are not sufficient for a study; the message says why."""


def run(config: Config, workers: int | None = None) -> None:
    """Write all outputs of the stage.

    Args:
        config: The configuration.
        workers: Number of decoding processes; None means one per CPU. The outputs do not depend on it.

    Raises:
        CurateError: There are too few usable clips, or another run is active.
    """
    manifest = build_manifest(config)
    for warning in manifest.warnings:
        print(f"curate: {warning}", file=sys.stderr)
    OUTPUT_DIR.mkdir(parents=True, exist_ok=True)
    with tracking.start_run("curate") as session, _exclusive_lock(CACHE_DIR):
        job_results = _decode_clips(manifest.items, config.curate, workers)
        _write_outputs(manifest, job_results, config.curate)
        shutil.rmtree(CACHE_DIR)
        session.finish(stage_cli.require_record(build_record(config, None)))


def build_record(config: Config, item: str | None) -> tracking.Record | None:
    """Build the MLflow record of this stage from its outputs.

    Args:
        config: The configuration.
        item: Unused; this stage has no items.

    Returns:
        The record, or None if outputs are missing.
    """
    if not (OUTPUT_DIR / "counts.json").exists() or not (OUTPUT_DIR / "rejected.parquet").exists():
        return None
    counts = tracking.flatten(json.loads((OUTPUT_DIR / "counts.json").read_text(encoding="utf-8")))
    return tracking.Record(
        stage="curate",
        parameters=tracking.flatten({"data": config.data, "curate": config.curate}),
        metrics={k: float(v) for k, v in counts.items() if isinstance(v, int | float)},
        artifacts=[OUTPUT_DIR / "rejected.parquet", OUTPUT_DIR / "counts.json"],
        inputs=["data"],
    )


def _decode_clips(
    entries: list[ClipEntry], curate_config: CurateConfig, num_workers: int | None, decode_fn: Callable = media.decode
) -> list[tuple[DecodeJob, JobResult]]:
    """Run all jobs that have no result in CACHE_DIR; return every job with its result, in order."""
    settings = {key: getattr(curate_config, key) for key in DECODE_PARAMS}
    jobs = decode_jobs.split_jobs(entries, curate_config.clips_per_shard, settings)
    job_names = {job.name for job in jobs}
    for path in CACHE_DIR.iterdir():
        if path.stem not in job_names or path.suffix == ".tmp":
            _remove(path)
    todo = [job for job in jobs if decode_jobs.load_result(job, CACHE_DIR) is None]
    if todo:
        num_todo = sum(len(job.items) for job in todo)
        with tqdm(
            total=len(entries), initial=len(entries) - num_todo, unit="clip", desc="curate", smoothing=0.05
        ) as bar:
            executors.load_executor(curate_config.executor).run(
                todo, CACHE_DIR, settings, num_workers, bar.update, decode_fn
            )
    return [(job, _load_result(job)) for job in jobs]


def _load_result(job: DecodeJob) -> JobResult:
    result = decode_jobs.load_result(job, CACHE_DIR)
    assert result is not None, f"job {job.name} has no result"
    return result


def _write_outputs(
    manifest: Manifest, job_results: list[tuple[DecodeJob, JobResult]], curate_config: CurateConfig
) -> None:
    """Publish the shards, then write the tables that refer to them."""
    nonempty = [(job, result) for job, result in job_results if result.shard.clips]
    rejected = manifest.rejected + [row for _, result in job_results for row in result.rejected]
    usable = [
        (entry, shard, row)
        for shard, (job, result) in enumerate(nonempty)
        for entry, row in zip(job.items, result.rows, strict=True)
        if row is not None
    ]
    if not usable:
        reasons = Counter(row["reason"] for row in rejected).most_common(5)
        summary = ", ".join(f"{n} {reason}" for reason, n in reasons)
        raise CurateError(f"none of {len(manifest.items)} files is a usable clip ({summary}): check the files")
    pairs = [(label, entry.split) for entry, _, _ in usable if entry.dataset == "vggsound" for label in entry.labels]
    check_split_sizes(
        manifest.frequencies["vggsound"], pairs, curate_config.analysis_clips_per_label, "that are usable"
    )
    shards = [(CACHE_DIR / f"{job.name}.arrow", result.shard) for job, result in nonempty]
    tmp_folder = CACHE_DIR / "store"
    store.publish(tmp_folder, OUTPUT_DIR / "store", store.collect_shards(shards, tmp_folder))
    rejected.sort(key=lambda row: (row["file"], row["clip_id"] or ""))
    schemas.write(_make_clip_table(usable), OUTPUT_DIR / "clips.parquet", schemas.CLIP)
    rejected_table = schemas.from_rows(rejected, schemas.REJECTED, "rejected")
    schemas.write(rejected_table, OUTPUT_DIR / "rejected.parquet", schemas.REJECTED)
    _write_json(manifest.frequencies, OUTPUT_DIR / "labels.json")
    usable_by_split = Counter(entry.split for entry, _, _ in usable)
    num_muted = sum(result.muted for _, result in job_results)
    if num_muted:
        print(f"curate: the sound of {num_muted} usable clips is all zero (muted); they are kept", file=sys.stderr)
    counts = _count_clips(manifest, usable_by_split, rejected, num_muted, len(nonempty))
    _write_json(counts, OUTPUT_DIR / "counts.json")


def _make_clip_table(usable_clips: list[tuple[ClipEntry, int, int]]) -> pa.Table:
    """Make schemas.CLIP from (entry, shard, row in the shard)."""
    columns: dict[str, list] = {
        name: [getattr(entry, name) for entry, _, _ in usable_clips]
        for name in ("clip_id", "video_id", "dataset", "split")
    }
    columns["labels"] = [list(entry.labels) for entry, _, _ in usable_clips]
    columns["shard"] = [shard for _, shard, _ in usable_clips]
    columns["row"] = [row for _, _, row in usable_clips]
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schemas.CLIP})


def _count_clips(
    manifest: Manifest, usable_by_split: Counter, rejected: list[dict], num_muted: int, num_shards: int
) -> dict:
    files_by_split = Counter(entry.split for entry in manifest.items)
    return {
        **manifest.counts,
        "splits": {
            split: {"files": files_by_split[split], "usable": usable_by_split[split]}
            for split in schemas.SPLITS
            if files_by_split[split]
        },
        "rejected": dict(sorted(Counter(row["reason"] for row in rejected).items())),
        "clips": usable_by_split.total(),
        **({"muted_clips": num_muted} if num_muted else {}),
        "shards": num_shards,
    }


def _write_json(values: dict, path: Path) -> None:
    io.write_atomic(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Create the folder and hold its lock, so that only one run writes there."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = io.FileLock(folder.with_name(folder.name + ".lock"), timeout=0).acquire()
    except io.Timeout:
        raise CurateError("another curate run uses this folder: wait until it ends, or stop it first") from None
    with lock:
        folder.mkdir(parents=True, exist_ok=True)  # the previous holder may have deleted it
        yield


def main() -> None:
    """Run the command line of the stage."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, metavar="N", help="number of decoding processes (default: CPUs)")

    stage_cli.main(run, __doc__, add_arguments=add_arguments)


if __name__ == "__main__":
    main()
