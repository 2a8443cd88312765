"""Device selection, asynchronous transfers, threads of loader processes, and seeds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

MAX_WORKERS = 12  # 17 clips/s of ten frames take about six cores (benchmarks/gpu.py)


def select_device() -> str:
    """Select this process's GPU where there is one, else the CPU; SYNESTHESIA_DEVICE overrides.

    Call it before anything is computed: cuBLAS reads its workspace setting, which makes its sums deterministic, at the
    first product.

    Returns:
        `cpu` or `cuda:<local rank>`.
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
    """Move a tensor without waiting for the GPU.

    A copy out of memory that is not pinned may first wait for all that the GPU has yet to compute (CUDA's "API
    synchronization behavior"), so the tensor is pinned first.

    Args:
        tensor: Any tensor.
        device: Its destination.

    Returns:
        The tensor on that device; the copy may still be under way.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def async_tolist(tensor: torch.Tensor) -> Callable[[], list[float]]:
    """Start a copy of a small tensor to the CPU.

    Args:
        tensor: (n,).

    Returns:
        A function that waits for this copy alone and returns the values; `tolist` itself would wait for everything
        queued on the GPU since.
    """
    if not tensor.is_cuda:
        return tensor.tolist
    host_tensor = tensor.to("cpu", non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def values() -> list[float]:
        copied.synchronize()
        return host_tensor.tolist()

    return values


@contextmanager
def no_grad_fast_kernels() -> Iterator[None]:
    """Run without gradients and with deterministic algorithms temporarily off, so that frozen encoders may use cuDNN.

    torch's deterministic algorithms exclude cuDNN's attention, whose gradients add up in any order. Its forward pass
    has one order; it is the fastest (Qwen2-Audio's encoder, eight clips on an H200: 1.8 ms instead of 4.4), and what
    plain transformers runs.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic, warn_only=was_warn_only)


def num_loader_workers() -> int:
    """Return how many processes prepare batches for this one: its share of the cores minus one."""
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) // local_world_size - 1))


def limit_threads(num_workers: int) -> None:
    """Leave cores to the loader's processes, so that threads of the model do not compete with them.

    Measured on two cores: a model on both with a loader answers 18 clips/s, a model on one core with the loader on the
    other 64. OMP_NUM_THREADS, where set, is left as it is.

    Args:
        num_workers: Loader processes.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - num_workers))


def seed(value: int) -> None:
    """Seed Python, NumPy and torch with `value`, 0 to 2**32 - 1."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
