"""A chunk of clips is decoded into one shard and a summary of what became of each; finished ones are found again.

A chunk is named by all that its content depends on, so it can be made at any time, in any order, by any process on any
machine, and is the same to the byte. It counts as finished when its summary is there, which is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import PIL
import pyarrow

from synesthesia.data import media
from synesthesia.data.catalogs.manifest import ClipEntry
from synesthesia.data.store import ShardInfo, ShardWriter
from synesthesia.data.store import shard as shards
from synesthesia.utils import sandboxed_pool

PRELOAD = ("synesthesia.data.decode_jobs",)
FILE_TIMEOUT, FILE_MEMORY_LIMIT = 60.0, 2 << 30  # a file that needs more is put aside


class DecodeJob(NamedTuple):
    """Clips that become one shard; `name` is their fingerprint."""

    name: str
    items: Sequence[ClipEntry]


class JobResult(NamedTuple):
    """What became of a chunk: each clip's row in the shard or None, what was put aside (tables.DAMAGED), the shard."""

    rows: list[int | None]
    rejected: list[dict]
    shard: ShardInfo


def split_jobs(items: Sequence[ClipEntry], clips_per_shard: int, settings: dict) -> list[DecodeJob]:
    """Chunks of `size` clips in order; `settings` are the arguments of media.decode."""
    pieces = [items[start : start + clips_per_shard] for start in range(0, len(items), clips_per_shard)]
    return [DecodeJob(fingerprint(piece, settings), piece) for piece in pieces]


def fingerprint(items: Sequence[ClipEntry], settings: dict) -> str:
    """Names a chunk by its files (size and time of change), the settings, the code and the libraries."""
    digest = hashlib.sha256(_code_bytes())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for item in items:
        try:
            stat = os.stat(item.path)
            seen = f"{stat.st_size} {stat.st_mtime_ns}"
        except FileNotFoundError:
            seen = "absent"
        digest.update(f"{item.clip_id}\0{item.file}\0{seen}\n".encode())
    return digest.hexdigest()[:24]


@cache
def _code_bytes() -> bytes:
    versions = json.dumps([av.__version__, PIL.__version__, pyarrow.__version__]).encode()
    files = (*sorted(Path(media.__file__).parent.glob("*.py")), Path(shards.__file__))
    return b"".join(file.read_bytes() for file in files) + versions


def make_pool(settings: dict, num_workers: int, decode: Callable) -> sandboxed_pool.SandboxedPool:
    """Processes that decode one file at a time, each under limits."""
    work = _DecodeTask(decode, settings)
    return sandboxed_pool.SandboxedPool(
        work, num_workers, timeout=FILE_TIMEOUT, memory_bytes=FILE_MEMORY_LIMIT, preload=PRELOAD
    )


class _DecodeTask(NamedTuple):
    decode: Callable
    settings: dict

    def __call__(self, path: str) -> media.DecodedClip | media.MediaError:
        try:
            return self.decode(path, **self.settings)
        except media.MediaError as error:
            return error
        except MemoryError:
            return media.MediaError("timed out or crashed", f"needs more than {FILE_MEMORY_LIMIT >> 20} MiB")


def run_job(
    job: DecodeJob, results: Iterator, folder: Path, on_progress: Callable[[], object] = lambda: None
) -> JobResult:
    """Write a chunk's good clips as a shard in `folder`, then its summary, which makes it count.

    `results` gives what `pool` made of each clip, in order; `tick` is called once a clip.
    """
    shard = ShardWriter(folder / f"{job.name}.arrow")
    rows, aside = [], []
    try:
        for item in job.items:
            result = next(results)
            on_progress()
            if isinstance(result, media.DecodedClip):
                rows.append(shard.add(item.clip_id, result.audio, result.jpegs))
                continue
            if isinstance(result, sandboxed_pool.WorkerFailure):
                result = media.MediaError("timed out or crashed", result.reason)
            rows.append(None)
            aside.append(_make_rejected_row(item, result))
        info = shard.close()
        summary = JobResult(rows, aside, info)
        path = folder / f"{job.name}.json"
        beside = shards.make_tmp_path(path)
        try:
            beside.write_text(json.dumps(summary._replace(shard=asdict(info))._asdict()))
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except BaseException:
        shard.abort()
        raise
    return summary


def _make_rejected_row(item: ClipEntry, error: media.MediaError) -> dict:
    return {
        "file": item.file,
        "clip_id": item.clip_id,
        "label": ", ".join(item.labels),
        "reason": error.reason,
        "detail": error.detail,
        "bytes": os.path.getsize(item.path) if os.path.exists(item.path) else None,
    }


def load_result(job: DecodeJob, folder: Path) -> JobResult | None:
    """What an earlier run or another process made of a chunk, if it is whole."""
    try:
        read = json.loads((folder / f"{job.name}.json").read_text())
        summary = JobResult(read["rows"], read["aside"], ShardInfo(**read["shard"]))
        size = (folder / f"{job.name}.arrow").stat().st_size
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    whole = size == summary.shard.bytes and len(summary.rows) == len(job.items)
    return summary if whole else None
