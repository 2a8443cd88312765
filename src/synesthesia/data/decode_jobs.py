"""Decoding jobs: clips that become one shard, with a result per clip; finished jobs are reused.

A job's name is a fingerprint of everything that its output depends on. Any process on any machine may therefore run it
at any time, in any order, and writes the same bytes. A job is finished once its result file exists, which is written
last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import PIL
import pyarrow

from synesthesia.data import media
from synesthesia.data.catalogs.manifest import ClipEntry
from synesthesia.data.store import ShardInfo, ShardWriter
from synesthesia.data.store import shard as shards
from synesthesia.utils import sandboxed_pool
from synesthesia.utils.io import write_atomic

PRELOAD = ("synesthesia.data.decode_jobs",)
FILE_TIMEOUT = 60.0  # s per file; slower files are rejected
FILE_MEMORY_LIMIT = 2 << 30  # bytes per file; files that need more are rejected


class DecodeJob(NamedTuple):
    """Clips that become one shard.

    Attributes:
        name: Fingerprint of the job.
        items: Clips to decode.
    """

    name: str
    items: Sequence[ClipEntry]


class JobResult(NamedTuple):
    """Outcome of a job.

    Attributes:
        rows: Row in the shard per clip, None for rejected clips.
        rejected: Rows of `schemas.REJECTED`.
        shard: The shard.
        muted: Number of clips in the shard whose sound is all zero.
    """

    rows: list[int | None]
    rejected: list[dict[str, Any]]
    shard: ShardInfo
    muted: int = 0


def split_jobs(items: Sequence[ClipEntry], clips_per_shard: int, settings: dict[str, Any]) -> list[DecodeJob]:
    """Split clips into jobs.

    Args:
        items: All clips, in order.
        clips_per_shard: Clips per job.
        settings: Keyword arguments of `media.decode`.

    Returns:
        The jobs, in order.
    """
    parts = [items[start : start + clips_per_shard] for start in range(0, len(items), clips_per_shard)]
    return [DecodeJob(fingerprint(part, settings), part) for part in parts]


def fingerprint(items: Sequence[ClipEntry], settings: dict[str, Any]) -> str:
    """Hash the files (size and modification time), the settings, the decoding code, and the library versions.

    Args:
        items: Clips of a job.
        settings: Keyword arguments of `media.decode`.

    Returns:
        24 hexadecimal digits.
    """
    digest = hashlib.sha256(_code_bytes())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for item in items:
        states = " ".join(_file_state(path) for path in (item.path, *item.alternatives))
        digest.update(f"{item.clip_id}\0{item.file}\0{states}\n".encode())
    return digest.hexdigest()[:24]


def _file_state(path: str) -> str:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return "absent"
    return f"{stat.st_size} {stat.st_mtime_ns}"


@cache
def _code_bytes() -> bytes:
    versions = json.dumps([av.__version__, PIL.__version__, pyarrow.__version__]).encode()
    assert media.__file__ and shards.__file__
    files = (*sorted(Path(media.__file__).parent.glob("*.py")), Path(shards.__file__))
    return b"".join(file.read_bytes() for file in files) + versions


def make_pool(settings: dict[str, Any], num_workers: int, decode: Callable) -> sandboxed_pool.SandboxedPool:
    """Create a pool that decodes one file per worker at a time, under limits of time and memory.

    Args:
        settings: Keyword arguments of `decode`.
        num_workers: Number of processes.
        decode: Decodes a path; `media.decode` or a stand-in.

    Returns:
        A pool that maps paths to `DecodedClip`, `MediaError`, or `WorkerFailure`.
    """
    return sandboxed_pool.SandboxedPool(
        _DecodeTask(decode, settings),
        num_workers,
        timeout=FILE_TIMEOUT,
        memory_bytes=FILE_MEMORY_LIMIT,
        preload=PRELOAD,
    )


class _DecodeTask(NamedTuple):
    decode: Callable
    settings: dict[str, Any]

    def __call__(self, path: str) -> media.DecodedClip | media.MediaError:
        try:
            return self.decode(path, **self.settings)
        except media.MediaError as error:
            return error
        except MemoryError:
            return media.MediaError("timed out or crashed", f"needs more than {FILE_MEMORY_LIMIT >> 20} MiB")


def decode_clips(
    items: Sequence[ClipEntry], settings: dict[str, Any], num_workers: int, decode: Callable
) -> Generator[media.DecodedClip | media.MediaError | sandboxed_pool.WorkerFailure]:
    """Decode clips in sandboxed processes, each from the first of its files that is usable.

    Args:
        items: The clips.
        settings: Keyword arguments of `decode`.
        num_workers: Number of processes.
        decode: Decodes a path; `media.decode` or a stand-in.

    Yields:
        A result per clip, in order; if none of a clip's files is usable, that of the first.
    """
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(make_pool(settings, num_workers, decode))
        retry_pool = None
        for item, first_result in zip(items, pool.map(item.path for item in items), strict=True):
            result = first_result
            for path in item.alternatives:
                if isinstance(result, media.DecodedClip):
                    break
                retry_pool = retry_pool or stack.enter_context(make_pool(settings, 1, decode))
                result = next(retry_pool.map([path]))
            yield result if isinstance(result, media.DecodedClip) else first_result


def run_job(
    job: DecodeJob, results: Iterator, folder: Path, on_progress: Callable[[], object] = lambda: None
) -> JobResult:
    """Write the decoded clips of a job as a shard, then its result file, which marks the job as finished.

    Args:
        job: The job.
        results: Results of `decode_clips` for the job's clips, in order.
        folder: Receives `<name>.arrow` and `<name>.json`.
        on_progress: Called once per clip.

    Returns:
        The result.
    """
    writer = ShardWriter(folder / f"{job.name}.arrow")
    rows: list[int | None] = []
    rejected: list[dict[str, Any]] = []
    num_muted = 0
    try:
        for item in job.items:
            result = next(results)
            on_progress()
            if isinstance(result, media.DecodedClip):
                rows.append(writer.add(item.clip_id, result.audio, result.jpegs))
                num_muted += not result.audio.any()
                continue
            if isinstance(result, sandboxed_pool.WorkerFailure):
                result = media.MediaError("timed out or crashed", result.reason)
            rows.append(None)
            rejected.append(_make_rejected_row(item, result))
        shard = writer.close()
        content = {"rows": rows, "rejected": rejected, "shard": asdict(shard), "muted": num_muted}
        write_atomic(folder / f"{job.name}.json", json.dumps(content))
    except BaseException:
        writer.abort()
        raise
    return JobResult(rows, rejected, shard, num_muted)


def _make_rejected_row(item: ClipEntry, error: media.MediaError) -> dict[str, Any]:
    return {
        "file": item.file,
        "clip_id": item.clip_id,
        "label": ", ".join(item.labels),
        "reason": error.reason,
        "detail": error.detail,
        "bytes": os.path.getsize(item.path) if os.path.exists(item.path) else None,
    }


def load_result(job: DecodeJob, folder: Path) -> JobResult | None:
    """Load the result of a finished job.

    Args:
        job: The job.
        folder: Folder with results and shards.

    Returns:
        The result, or None if the job is not finished or its files are incomplete.
    """
    try:
        content = json.loads((folder / f"{job.name}.json").read_text())
        result = JobResult(content["rows"], content["rejected"], ShardInfo(**content["shard"]), content["muted"])
        size = (folder / f"{job.name}.arrow").stat().st_size
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    is_complete = size == result.shard.bytes and len(result.rows) == len(job.items)
    return result if is_complete else None
