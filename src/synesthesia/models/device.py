"""Where models run, and seeds for what is random in them."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def pick() -> str:
    """`cuda` where there is a GPU, else `cpu`; SYNESTHESIA_DEVICE overrides."""
    return os.environ.get("SYNESTHESIA_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def seed(value: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
