"""The embedded preset, parsed once per process because parsing is slow; its objects are frozen."""

from functools import cache
from pathlib import Path

from synesthesia import config

PATH = Path(__file__).parents[2] / "params/embedded.yaml"


@cache
def embedded() -> config.Config:
    """Return the embedded configuration; `model_copy(update=...)` derives another one."""
    return config.load(PATH)
