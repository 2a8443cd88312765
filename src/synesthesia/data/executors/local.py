"""Run decoding jobs on one machine: worker processes decode a file each, this process writes the shards in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from synesthesia.data import decode_jobs, media
from synesthesia.data.decode_jobs import DecodeJob
from synesthesia.data.executors import ProgressCallback
from synesthesia.utils import sandboxed_pool


def run(
    todo: Sequence[DecodeJob],
    folder: Path,
    settings: dict[str, Any],
    num_workers: int | None,
    on_progress: ProgressCallback,
    decode: Callable = media.decode,
) -> None:
    """Run all jobs.

    Args:
        todo: Jobs to run.
        folder: Receives shards and result files.
        settings: Keyword arguments of `decode`.
        num_workers: Number of processes; None means one per CPU.
        on_progress: Called with the number of newly finished clips.
        decode: Decodes a path; `media.decode` or a stand-in.
    """
    items = [item for job in todo for item in job.items]
    num_workers = min(num_workers or sandboxed_pool.cpu_count(), len(items))
    with contextlib.closing(decode_jobs.decode_clips(items, settings, num_workers, decode)) as results:
        for job in todo:
            decode_jobs.run_job(job, results, folder, partial(on_progress, 1))
