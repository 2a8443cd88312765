"""Kernels of a GPU, in triton's interpreter on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def interpreted(code: str) -> str:
    """What the code prints in a process of its own; there the language of triton's kernels is numpy's."""
    pytest.importorskip("triton", reason="triton comes with torch on Linux alone")
    told = {**os.environ, "TRITON_INTERPRET": "1"}  # read when a kernel is made
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout
