"""curate: decode every clip once, clean the labels, put damaged files aside, take analysis out of train.

    data/*.csv, data/**   ->   out/curate/clips.parquet     every usable clip: labels, split, where the store has it
                               out/curate/store/            16 kHz sound and one frame a second, in shards
                               out/curate/damaged.parquet   every clip or file put aside, with the reason
                               out/curate/labels.json       how often each label is listed (distractors follow it)
                               out/curate/counts.json       counts before and after each rule

Clips are decoded in chunks of curate.shard_clips, and a chunk becomes a shard. Finished chunks wait in
out/.partial/curate: a run that was killed goes on behind the last of them, and ends with the same bytes.

Examples:
    python -m synesthesia.stages.curate
    python -m synesthesia.stages.curate --workers 1
    python -m synesthesia.stages.curate --params params/paper.yaml --workers 16
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import av
import PIL
from tqdm import tqdm

from synesthesia import media, store, tables, tracking, workers
from synesthesia.catalogs import plan as plans
from synesthesia.catalogs.plan import Item, Plan
from synesthesia.catalogs.splits import require_enough
from synesthesia.params import Curate, Params
from synesthesia.stages import entry

OUT, PARTIAL = Path("out/curate"), Path("out/.partial/curate")
DECODED = ("rate", "seconds", "shortest_seconds", "frames_per_second", "largest_pixels", "jpeg_quality")
PRELOAD = ("synesthesia.media", "synesthesia.store", "synesthesia.catalogs.plan")
FILE_SECONDS, FILE_MEMORY = 60.0, 2 << 30  # a file that needs more is put aside


class CurateError(ValueError):
    """The clips cannot become a study; the message says why."""


def run(params: Params, workers: int | None = None) -> None:
    """Write all outs of the stage; `workers` processes decode (default: one a processor) to the same outs."""
    plan = plans.make(params)
    for note in plan.notes:
        print(f"curate: {note}", file=sys.stderr)
    OUT.mkdir(parents=True, exist_ok=True)
    with tracking.session("curate") as session, _alone(PARTIAL):
        chunks = _decode(plan.items, params.curate, workers)
        _write(plan, chunks, params.curate)
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


def _decode(items: list[Item], curate: Curate, count: int | None) -> list[dict]:
    """What became of each chunk of clips, in order: those that `PARTIAL` has already, and the others decoded now."""
    pieces = [items[start : start + curate.shard_clips] for start in range(0, len(items), curate.shard_clips)]
    names = [_fingerprint(piece, curate) for piece in pieces]
    for path in PARTIAL.iterdir():
        if path.stem not in names or path.suffix == ".tmp":
            _remove(path)
    chunks = [_finished(name) for name in names]
    todo = [n for n, chunk in enumerate(chunks) if chunk is None]
    left = sum(len(pieces[n]) for n in todo)
    if not todo:
        return chunks
    count = min(count or workers.processors(), left)
    work = partial(_decode_one, **{key: getattr(curate, key) for key in DECODED})
    with (
        workers.Pool(work, count, seconds=FILE_SECONDS, memory_bytes=FILE_MEMORY, preload=PRELOAD) as pool,
        tqdm(total=len(items), initial=len(items) - left, unit="clip", desc="curate") as bar,
    ):
        results = pool.map(item.path for n in todo for item in pieces[n])
        for n in todo:
            chunks[n] = _fill(names[n], pieces[n], results, bar)
    return chunks


def _decode_one(path: str, **settings) -> media.Clip | media.MediaError:
    try:
        return media.decode(path, **settings)
    except media.MediaError as error:
        return error
    except MemoryError:
        return media.MediaError("timed out or crashed", f"needs more than {FILE_MEMORY >> 20} MiB")


def _fill(name: str, items: list[Item], results: Iterator, bar: tqdm) -> dict:
    """Write one chunk's good clips as a shard beside its summary; the summary comes last and makes it count."""
    shard = store.ShardWriter(PARTIAL / f"{name}.arrow")
    rows, aside = [], []
    try:
        for item in items:
            result = next(results)
            bar.update()
            if isinstance(result, media.Clip):
                rows.append(shard.add(item.clip_id, result.audio, result.jpegs))
                continue
            if isinstance(result, workers.Lost):
                result = media.MediaError("timed out or crashed", result.why)
            rows.append(None)
            aside.append(_aside(item, result))
        info = shard.close()
    except BaseException:
        shard.abort()
        raise
    chunk = {"name": name, "rows": rows, "aside": aside, "shard": asdict(info)}
    beside = PARTIAL / f"{name}.tmp"
    beside.write_text(json.dumps(chunk))
    os.replace(beside, PARTIAL / f"{name}.json")
    return chunk


def _aside(item: Item, error: media.MediaError) -> dict:
    return {
        "file": item.file,
        "clip_id": item.clip_id,
        "label": ", ".join(item.labels),
        "reason": error.reason,
        "detail": error.detail,
        "bytes": os.path.getsize(item.path) if os.path.exists(item.path) else None,
    }


def _fingerprint(items: list[Item], curate: Curate) -> str:
    """Names a chunk by all that its content depends on: files, settings, code and libraries."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(media.__file__).parent.glob("*.py")), Path(store.__file__)):
        digest.update(path.read_bytes())
    digest.update(json.dumps([av.__version__, PIL.__version__, [getattr(curate, key) for key in DECODED]]).encode())
    for item in items:
        try:
            stat = os.stat(item.path)
            seen = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            seen = None
        digest.update(json.dumps([item.clip_id, item.file, seen]).encode())
    return digest.hexdigest()[:24]


def _finished(name: str) -> dict | None:
    """A chunk of an earlier run, if it is whole."""
    try:
        chunk = json.loads((PARTIAL / f"{name}.json").read_text())
        whole = (PARTIAL / f"{name}.arrow").stat().st_size == chunk["shard"]["bytes"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return chunk if whole else None


def _write(plan: Plan, chunks: list[dict], curate: Curate) -> None:
    """Put the shards in their place, then the tables that point into them."""
    clips, aside = [], list(plan.aside)
    items = iter(plan.items)
    full = [chunk for chunk in chunks if chunk["shard"]["clips"]]
    numbers = {chunk["name"]: number for number, chunk in enumerate(full)}
    for chunk in chunks:
        aside += chunk["aside"]
        for row in chunk["rows"]:
            item = next(items)
            if row is not None:
                clips.append(_clip(item, numbers[chunk["name"]], row))
    if not clips:
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(row["reason"] for row in aside).most_common(5))
        raise CurateError(f"not one of {len(plan.items)} files is a usable clip ({reasons}): look at the files")
    pairs = [(label, row["split"]) for row in clips if row["dataset"] == "vggsound" for label in row["labels"]]
    require_enough(plan.frequencies["vggsound"], pairs, curate.analysis_clips_a_label, "that are usable")
    shards = [(PARTIAL / f"{c['name']}.arrow", store.ShardInfo(**c["shard"])) for c in full]
    prepared = PARTIAL / "store"
    store.publish(prepared, OUT / "store", store.gather(shards, prepared))
    aside.sort(key=lambda row: (row["file"], row["clip_id"] or ""))
    tables.write(tables.from_rows(clips, tables.CLIP, "clips"), OUT / "clips.parquet", tables.CLIP)
    tables.write(tables.from_rows(aside, tables.DAMAGED, "damaged"), OUT / "damaged.parquet", tables.DAMAGED)
    _json(plan.frequencies, OUT / "labels.json")
    _json(_counts(plan, clips, aside, len(full)), OUT / "counts.json")


def _clip(item: Item, shard: int, row: int) -> dict:
    return {
        "clip_id": item.clip_id,
        "video_id": item.video_id,
        "dataset": item.dataset,
        "labels": list(item.labels),
        "split": item.split,
        "shard": shard,
        "row": row,
    }


def _counts(plan: Plan, clips: list[dict], aside: list[dict], shards: int) -> dict:
    files, usable = Counter(item.split for item in plan.items), Counter(row["split"] for row in clips)
    return {
        **plan.counts,
        "splits": {s: {"files": files[s], "usable": usable[s]} for s in tables.SPLITS if files[s]},
        "put_aside": dict(sorted(Counter(row["reason"] for row in aside).items())),
        "clips": len(clips),
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

    entry.main(run, __doc__, arguments=arguments)


if __name__ == "__main__":
    main()
