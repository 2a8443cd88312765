"""More than one machine: Ray Data maps over the chunks, one processor a chunk at a time.

    pip install 'synesthesia[ray]'            on every machine, with the same Python
    ray start --head                          on the first; it prints what to start on the others
    RAY_ADDRESS=... python -m synesthesia.pipeline.curate

Every machine must see the clips and `out/` under the same path (a network file system). A machine with another version
of the code or the libraries, or with other files, is refused: it would decode to other bytes. Each file is still
decoded in a process of its own that may die (workers.py), and Ray runs a chunk again whose machine was lost.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from synesthesia.data import decode_jobs, media
from synesthesia.data.catalogs.manifest import ClipEntry
from synesthesia.data.decode_jobs import DecodeJob
from synesthesia.data.executors import ExecutorError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports home unless told not to
try:
    import ray
except ImportError:
    raise ExecutorError("curate.engine is ray, but Ray is not installed: pip install 'synesthesia[ray]'") from None


def run(
    todo: Sequence[DecodeJob],
    folder: Path,
    settings: dict,
    num_workers: int | None,
    on_progress: Callable[[int], object],
    decode: Callable = media.decode,
) -> None:
    """Make every chunk of `todo` in `folder`, on at most `count` processors of the cluster."""
    here = Path.cwd()
    rows = [
        {"number": number, "chunk": json.dumps([chunk.name, [_absolute(item, here) for item in chunk.items]])}
        for number, chunk in enumerate(todo)
    ]
    _connect()
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # the stage has one
        made = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            DecodeShard(here / folder, settings, decode), num_cpus=1, concurrency=num_workers
        )
        for row in made.iter_rows():
            chunk = todo[row["number"]]
            if row["failed"]:
                raise _to_error(row)
            if decode_jobs.load_result(chunk, folder) is None:
                raise ExecutorError(
                    f"{row['host']} says it wrote {chunk.name}.arrow, but it is not in {folder}: every machine must "
                    "see this folder under the same path"
                )
            on_progress(len(chunk.items))
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"Ray gave up: {getattr(error, 'cause', None) or error}") from error
    finally:
        ray.shutdown()


def _to_error(row: dict) -> Exception:
    if row["errno"]:
        return OSError(row["errno"], os.strerror(row["errno"]), f"{row['failed']} on {row['host']}")
    return ExecutorError(f"{row['host']}: {row['failed']}")


def _absolute(item: ClipEntry, cwd: Path) -> ClipEntry:
    return item._replace(path=os.path.join(cwd, item.path))


def _connect() -> None:
    address = os.environ.get("RAY_ADDRESS") or "auto"
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if address != "auto":
            _check_reachable(address)  # Ray ends the whole process where nobody answers
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (OSError, ValueError, RuntimeError) as error:
        raise ExecutorError(
            f"no Ray cluster at {address!r} ({str(error).splitlines()[0]}): start one with `ray start --head`, or set "
            "RAY_ADDRESS to the host:port of one that runs"
        ) from None


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class DecodeShard:
    """What a machine of the cluster does with a row: decode the chunk in a process beside, write its shard."""

    def __init__(self, folder: Path, settings: dict, decode: Callable):
        self._folder, self._settings, self._decode = folder, settings, decode

    def __call__(self, row: dict) -> dict:
        name, items = json.loads(row["chunk"])
        told = {"number": row["number"], "host": socket.gethostname(), "failed": "", "errno": 0}
        try:
            self._run_job(DecodeJob(name, [ClipEntry(*item) for item in items]))
        except ExecutorError as error:
            told["failed"] = str(error)
        except OSError as error:
            told |= {"failed": str(error.filename or error), "errno": error.errno or 0}
        return told

    def _run_job(self, job: DecodeJob) -> None:
        if decode_jobs.fingerprint(job.items, self._settings) != job.name:
            raise ExecutorError(
                "would decode other bytes than the machine that started: install the same versions there, and let it "
                f"see the same files as {job.items[0].path}"
            )
        with decode_jobs.make_pool(self._settings, 1, self._decode) as pool:
            decode_jobs.run_job(job, pool.map(item.path for item in job.items), self._folder)
