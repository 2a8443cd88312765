"""GPU energy (NVML's counter) and utilization (nvidia-smi) of this process's device."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import datetime

import numpy as np
import pynvml
import torch


def gpu_uuid() -> str:
    """Return the driver's UUID of this process's GPU, which does not depend on CUDA_VISIBLE_DEVICES."""
    uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    return uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"


def read_joules() -> float | None:
    """Read the energy that the GPU has used since its driver was loaded.

    The counter is updated ten times per second, whereas `power.draw` is a mean over the last second.

    Returns:
        Joules, or None if the GPU does not report them.
    """
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid())) / 1000
    except pynvml.NVMLError:
        return None


class GpuMonitor:
    """Context manager that averages what nvidia-smi reports ten times per second.

    Attributes:
        since: Unix time from which on samples count; set at entry, may be moved later.
        means: After the exit, one mean per metric; None without a GPU or if it does not report them.
    """

    def __init__(self, *metrics: str) -> None:
        """Create the monitor.

        Args:
            *metrics: Names of `nvidia-smi --query-gpu`, such as utilization.gpu (percent).
        """
        self.metrics = metrics
        self.since: float = 0.0
        self.means: list[float] | None = None
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> GpuMonitor:
        self.since, self.means = time.time(), None
        program = shutil.which("nvidia-smi") or shutil.which("/usr/local/nvidia/bin/nvidia-smi")
        if program and torch.cuda.is_available():
            query = ["--query-gpu=" + ",".join(["timestamp", *self.metrics]), "--format=csv,noheader,nounits"]
            command = [program, "-i", gpu_uuid(), *query, "-lms", "100"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self.means = mean_values(self._process.communicate()[0], len(self.metrics), self.since)
            self._process = None


def mean_values(output: str, n_columns: int, since: float) -> list[float] | None:
    """Average lines such as "2026/11/28 17:20:01.123, 1, 2".

    Args:
        output: Output of nvidia-smi. Incomplete lines and lines without numbers ("[N/A]") are skipped.
        n_columns: Number of values per line.
        since: Unix time of the first line that counts.

    Returns:
        One mean per column, or None without any line that counts.
    """
    rows = []
    for line in output.splitlines():
        timestamp, *fields = line.split(", ")
        try:
            values = [float(field) for field in fields]
            seconds = datetime.strptime(timestamp, "%Y/%m/%d %H:%M:%S.%f").timestamp()
        except ValueError:
            continue
        if len(values) == n_columns and seconds >= since:
            rows.append(values)
    return np.mean(rows, axis=0).tolist() if rows else None
