"""Several processes for one stage item, one per GPU, on one machine or several; started by accelerate's launcher.

A stage that computes starts itself again through `accelerate launch`, one process per GPU, if the machine has several;
without GPUs through torchrun, since accelerate (1.15) starts one process there, whatever number it is given. Whichever
launcher is used, over several machines too, each process selects its part by its rank, and results do not depend on the
world size. All processes must share `out/`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, WSL, AMD
NUM_PROCESSES_ENV = "SYNESTHESIA_NUM_PROCESSES"


class ProcessError(ValueError):
    """An impossible number of processes; the message says why and what to do."""


def rank() -> int:
    """Return this process's rank, from 0."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Return whether this process writes outputs and logs to MLflow."""
    return rank() == 0


def relaunch_distributed(module: str, args: Sequence[str]) -> None:
    """Replace this process by a distributed launcher of the same module, one process per GPU.

    SYNESTHESIA_NUM_PROCESSES overrides the number. Does nothing if a launcher started this process, or for one process.

    Args:
        module: Name of the module.
        args: Its command-line arguments.

    Raises:
        ProcessError: SYNESTHESIA_NUM_PROCESSES is not a number from 1, or exceeds the number of GPUs.
    """
    if "RANK" in os.environ:
        return
    num_gpus = _count_gpus()
    value = os.environ.get(NUM_PROCESSES_ENV)
    if value is not None and not (value.isdecimal() and int(value)):
        raise ProcessError(f"{NUM_PROCESSES_ENV} is {value!r}: it must be an integer from 1")
    num_processes = int(value) if value else num_gpus
    if num_processes <= 1:
        return
    if 0 < num_gpus < num_processes:
        raise ProcessError(
            f"{NUM_PROCESSES_ENV} is {num_processes}, but there are {num_gpus} GPUs: each process needs its own"
        )
    command = [*launch_command(num_processes, num_gpus > 0), "--module", module, *args]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def launch_command(num_processes: int, use_gpus: bool) -> list[str]:
    """Build the command that starts processes on this machine.

    Args:
        num_processes: Number of processes.
        use_gpus: One GPU per process, through accelerate; else torchrun.

    Returns:
        The command; `--module name` or a script follows.
    """
    if not use_gpus:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu"]
    processes = ["--num_processes", str(num_processes), "--num_machines", "1", "--main_process_port", "0"]
    return [sys.executable, *launcher, *processes, "--mixed_precision", "no", "--dynamo_backend", "no"]


def has_gpu_device() -> bool:
    """Return whether this machine has a GPU, without importing torch, which takes seconds."""
    return any(map(os.path.exists, GPU_DEVICES))


def _count_gpus() -> int:
    if os.environ.get("SYNESTHESIA_DEVICE", "cuda").startswith("cpu"):
        return 0
    import torch

    return torch.cuda.device_count()


def barrier() -> None:
    """Wait until every process has reached this call."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=not _count_gpus()).wait_for_everyone()
