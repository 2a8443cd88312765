"""Run Triton kernels on the CPU in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run_interpreted(code: str) -> str:
    """Run Python code in a subprocess with TRITON_INTERPRET=1 and return its standard output; skip without Triton."""
    pytest.importorskip("triton", reason="Triton is installed with torch on Linux only")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # triton.jit reads it when a kernel is defined
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    return result.stdout
