"""The embedded preset, parsed once for all tests of a process: its objects are frozen, and parsing takes a while."""

from functools import cache
from pathlib import Path

from synesthesia import config

PATH = Path(__file__).parents[2] / "params/embedded.yaml"


@cache
def embedded() -> config.Config:
    """Not to be changed; `model_copy(update=...)` gives another."""
    return config.load(PATH)
