"""What this process's GPU says of itself while something runs: its driver's own counter of energy, its own program."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import datetime

import numpy as np
import pynvml
import torch


def name() -> str:
    """What the driver calls this process's card, whichever number it has here."""
    uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    return uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"


def joules() -> float | None:
    """All that the card has used since its driver was loaded; None where it does not tell. It is counted up ten times a
    second; `power.draw` is a mean of the second before.
    """
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(name())) / 1000
    except pynvml.NVMLError:
        return None


class Watched:
    """Means of what nvidia-smi tells ten times a second, from `since` (now, until it is set) to the end.

    what: names of `nvidia-smi --query-gpu`, such as utilization.gpu (percent). `means` has one number each; None where
    there is no GPU or it does not tell.
    """

    def __init__(self, *what: str) -> None:
        self.what = what
        self.since, self.means = 0.0, None
        self._asked: subprocess.Popen | None = None

    def __enter__(self) -> Watched:
        self.since, self.means = time.time(), None
        program = shutil.which("nvidia-smi") or shutil.which("/usr/local/nvidia/bin/nvidia-smi")
        if program and torch.cuda.is_available():
            query = ["--query-gpu=" + ",".join(["timestamp", *self.what]), "--format=csv,noheader,nounits"]
            command = [program, "-i", name(), *query, "-lms", "100"]
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
