"""One machine: a process a processor, each decoding one file at a time; this process writes the shards in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from synesthesia.data import decode_jobs, media
from synesthesia.data.decode_jobs import DecodeJob
from synesthesia.utils import sandboxed_pool


def run(
    todo: Sequence[DecodeJob],
    folder: Path,
    settings: dict,
    num_workers: int | None,
    on_progress: Callable[[int], object],
    decode: Callable = media.decode,
) -> None:
    """Make every chunk of `todo` in `folder`."""
    paths = [item.path for chunk in todo for item in chunk.items]
    with decode_jobs.make_pool(settings, min(num_workers or sandboxed_pool.cpu_count(), len(paths)), decode) as pool:
        results = pool.map(paths)
        for chunk in todo:
            decode_jobs.run_job(chunk, results, folder, partial(on_progress, 1))
