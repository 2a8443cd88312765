"""What this process's GPU says of itself while something runs, by its driver's own program."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import datetime

import numpy as np
import torch


class Watched:
    """Means of what nvidia-smi tells ten times a second, from `since` (now, until it is set) to the end.

    what: names of `nvidia-smi --query-gpu`, such as utilization.gpu (percent), clocks.sm (MHz) and power.draw (W).
    `means` has one number each; None where there is no GPU or it does not tell.
    """

    def __init__(self, *what: str) -> None:
        self.what = what
        self.since, self.means = 0.0, None
        self._asked: subprocess.Popen | None = None

    def __enter__(self) -> Watched:
        self.since, self.means = time.time(), None
        program = shutil.which("nvidia-smi") or shutil.which("/usr/local/nvidia/bin/nvidia-smi")
        if program and torch.cuda.is_available():
            one = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            query = ["--query-gpu=" + ",".join(["timestamp", *self.what]), "--format=csv,noheader,nounits"]
            command = [program, "-i", one if one.startswith("GPU-") else f"GPU-{one}", *query, "-lms", "100"]
            self._asked = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._asked:
            self._asked.terminate()
            self.means = means(self._asked.communicate()[0], len(self.what), self.since)
            self._asked = None


def means(said: str, columns: int, since: float) -> list[float] | None:
    """Of lines "2026/11/28 17:20:01.123, 1, 2", those from this second on; a line cut short, or that has no number
    ("[N/A]"), is left out.
    """
    seen = []
    for line in said.splitlines():
        when, *values = line.split(", ")
        try:
            numbers = [float(value) for value in values]
            at = datetime.strptime(when, "%Y/%m/%d %H:%M:%S.%f").timestamp()
        except ValueError:
            continue
        if len(numbers) == columns and at >= since:
            seen.append(numbers)
    return np.mean(seen, axis=0).tolist() if seen else None
