"""Where models run, and seeds for what is random in them."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def pick() -> str:
    """`cuda` where there is a GPU, else `cpu`; SYNESTHESIA_DEVICE overrides."""
    return os.environ.get("SYNESTHESIA_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def loader_workers() -> int:
    """Processes that prepare batches: all processors but one, four at most."""
    return min(4, max(1, (os.cpu_count() or 1) - 1))


def share_processors(workers: int) -> None:
    """Leave `workers` processors to the loader's processes, so that threads of the model do not fight with them.

    Measured on two cores: a model on both and a loader beside it answers 18 clips a second, a model on one core and
    the loader on the other 64. OMP_NUM_THREADS, where set, is left as it is.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - workers))


def seed(value: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
