"""Run decoding jobs on several machines: Ray Data maps over the jobs, one CPU per job.

    pip install 'synesthesia[ray]'            on every machine, with the same Python
    ray start --head                          on the first; it prints the command for the others
    RAY_ADDRESS=... python -m synesthesia.pipeline.curate

Every machine must see the clips and `out/` under the same path (a network file system). A machine with other versions
of the code or the libraries, or with other files, is refused, because it could decode to other bytes. Each file is
decoded in its own sandboxed process (`utils/sandboxed_pool.py`), and Ray reruns the jobs of a lost machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synesthesia.data import decode_jobs, media
from synesthesia.data.catalogs.manifest import ClipEntry
from synesthesia.data.decode_jobs import DecodeJob
from synesthesia.data.executors import ExecutorError, ProgressCallback

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends usage statistics by default
try:
    import ray  # pyright: ignore[reportMissingImports]  # an optional extra
except ImportError:
    raise ExecutorError("curate.executor is ray, but Ray is not installed: pip install 'synesthesia[ray]'") from None


def run(
    todo: Sequence[DecodeJob],
    folder: Path,
    settings: dict[str, Any],
    num_workers: int | None,
    on_progress: ProgressCallback,
    decode: Callable = media.decode,
) -> None:
    """Run all jobs on the cluster at `RAY_ADDRESS`.

    Args:
        todo: Jobs to run.
        folder: Receives shards and result files; all machines must see it under the same path.
        settings: Keyword arguments of `decode`.
        num_workers: Maximum number of CPUs; None means all of the cluster.
        on_progress: Called with the number of newly finished clips.
        decode: Decodes a path; `media.decode` or a stand-in.

    Raises:
        ExecutorError: There is no cluster, a machine is unsuitable, or Ray fails.
        OSError: A machine cannot read or write a file.
    """
    cwd = Path.cwd()
    rows = [
        {"index": index, "job": json.dumps([job.name, [_absolute(item, cwd) for item in job.items]])}
        for index, job in enumerate(todo)
    ]
    _connect()
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # the stage has its own
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            DecodeShard(cwd / folder, settings, decode), num_cpus=1, concurrency=num_workers
        )
        for row in results.iter_rows():
            job = todo[row["index"]]
            if row["error"]:
                raise _to_error(row)
            if decode_jobs.load_result(job, folder) is None:
                raise ExecutorError(
                    f"{row['host']} reports {job.name}.arrow as written, but it is not in {folder}: every machine must "
                    "see this folder under the same path"
                )
            on_progress(len(job.items))
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"Ray failed: {getattr(error, 'cause', None) or error}") from error
    finally:
        ray.shutdown()


def _to_error(row: dict[str, Any]) -> Exception:
    if row["errno"]:
        return OSError(row["errno"], os.strerror(row["errno"]), f"{row['error']} on {row['host']}")
    return ExecutorError(f"{row['host']}: {row['error']}")


def _absolute(item: ClipEntry, cwd: Path) -> ClipEntry:
    alternatives = tuple(os.path.join(cwd, path) for path in item.alternatives)
    return item._replace(path=os.path.join(cwd, item.path), alternatives=alternatives)


def _connect() -> None:
    address = os.environ.get("RAY_ADDRESS") or "auto"
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if address != "auto":
            _check_reachable(address)  # Ray terminates the process if no server answers
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except (OSError, ValueError, RuntimeError) as error:
        raise ExecutorError(
            f"no Ray cluster at {address!r} ({str(error).splitlines()[0]}): start one with `ray start --head`, or set "
            "RAY_ADDRESS to the host:port of a running one"
        ) from None


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class DecodeShard:
    """Runs one job on a machine of the cluster: decodes in a separate process and writes the shard."""

    def __init__(self, folder: Path, settings: dict[str, Any], decode: Callable):
        self._folder, self._settings, self._decode = folder, settings, decode

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Run the job of a row.

        Args:
            row: `index`, and `job` as JSON.

        Returns:
            `index`, `host`, `error` (empty on success), and `errno`.
        """
        name, items = json.loads(row["job"])
        status = {"index": row["index"], "host": socket.gethostname(), "error": "", "errno": 0}
        try:
            self._run_job(DecodeJob(name, [ClipEntry(*item) for item in items]))
        except ExecutorError as error:
            status["error"] = str(error)
        except OSError as error:
            status |= {"error": str(error.filename or error), "errno": error.errno or 0}
        return status

    def _run_job(self, job: DecodeJob) -> None:
        if decode_jobs.fingerprint(job.items, self._settings) != job.name:
            raise ExecutorError(
                "would decode to other bytes than the machine that started the run: install the same versions, and "
                f"make sure that it sees the same files as {job.items[0].path}"
            )
        with contextlib.closing(decode_jobs.decode_clips(job.items, self._settings, 1, self._decode)) as results:
            decode_jobs.run_job(job, results, self._folder)
