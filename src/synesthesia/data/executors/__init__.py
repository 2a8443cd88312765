"""Who decodes the chunks: the processes of this machine, or those of a Ray cluster. The outs are the same to the byte.

An engine is a function `run(chunks, folder, settings, count, tick, decode)` that makes every chunk in `folder`
(`chunks.make`), in any order; `count` processes, None: all there are; `tick(n)` tells of n clips done. Which one is in
use is `curate.engine` in the parameters, and no other module knows.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

EXECUTORS = ("processes", "ray")


class ExecutorError(RuntimeError):
    """An engine cannot be used; the message says what to do."""


def load_executor(name: str) -> ModuleType:
    """The module of an engine; it imports what only that engine needs."""
    return importlib.import_module(f"synesthesia.data.executors.{name}")


ProgressCallback = Callable[[int], object]
