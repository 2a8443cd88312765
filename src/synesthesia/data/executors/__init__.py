"""Executors run decoding jobs, on this machine or on a Ray cluster. The outputs are the same to the byte.

Each module has a function `run(todo, folder, settings, num_workers, on_progress, decode)` that runs every job of `todo`
in `folder` (`decode_jobs.run_job`), in any order. `num_workers` None means all available; `on_progress(n)` reports n
finished clips. `curate.executor` selects the module, and no other code depends on the choice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

EXECUTORS = ("local", "ray")


class ExecutorError(RuntimeError):
    """Raised when an executor is unavailable or fails; the message says what to do."""


def load_executor(name: str) -> ModuleType:
    """Import the module of an executor; each imports its own dependencies.

    Args:
        name: One of `EXECUTORS`.

    Returns:
        The module.
    """
    return importlib.import_module(f"synesthesia.data.executors.{name}")


ProgressCallback = Callable[[int], object]
