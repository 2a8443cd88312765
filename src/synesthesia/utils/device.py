"""Where models run, and seeds for what is random in them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

MAX_WORKERS = 12  # 17 clips a second of ten frames cost about six processors (benchmarks/gpu.py)


def select_device() -> str:
    """This process's GPU where there is one, else `cpu`; SYNESTHESIA_DEVICE overrides.

    Called before anything is computed: cuBLAS reads at its first product whether its sums shall have one order.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if os.environ.get("SYNESTHESIA_DEVICE"):
        return os.environ["SYNESTHESIA_DEVICE"]
    if not torch.cuda.is_available():
        return "cpu"
    local = int(os.environ.get("LOCAL_RANK", 0))
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def to_device(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """The tensor on that device, without waiting for it: a copy out of memory that is not pinned may first wait for all
    that the GPU has yet to compute (CUDA's "API synchronization behavior").
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def async_tolist(tensor: torch.Tensor) -> Callable[[], list[float]]:
    """Start a copy of a small tensor to the CPU; the function waits for that copy alone and returns the values.

    `tolist` itself would wait for everything queued on the GPU since.
    """
    if not tensor.is_cuda:
        return tensor.tolist
    here = tensor.to("cpu", non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def values() -> list[float]:
        copied.synchronize()
        return here.tolist()

    return values


@contextmanager
def no_grad_fast_kernels() -> Iterator[None]:
    """No gradients, and torch's usual kernels where a training asks for deterministic algorithms.

    These exclude cuDNN's attention, whose gradients add up in any order. Forward it has one order; it is the fastest
    (Qwen2-Audio's encoder, eight clips on an H200: 1.8 ms instead of 4.4), and what plain transformers runs.
    """
    ordered = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.use_deterministic_algorithms(ordered, warn_only=warned)


def num_loader_workers() -> int:
    """Processes that prepare batches for this process: its share of the processors but one, `MOST_WORKERS` at most."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) // here - 1))


def limit_threads(num_workers: int) -> None:
    """Leave `workers` processors to the loader's processes, so that threads of the model do not fight with them.

    Measured on two cores: a model on both and a loader beside it answers 18 clips a second, a model on one core and
    the loader on the other 64. OMP_NUM_THREADS, where set, is left as it is.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - num_workers))


def seed(value: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
