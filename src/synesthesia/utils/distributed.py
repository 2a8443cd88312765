"""Several processes on one stage item, one a GPU, on one machine or several; started by accelerate's launcher.

A stage that computes starts itself again through `accelerate launch`, one process a GPU, where a machine has several;
without GPUs through torchrun, since accelerate (1.15) starts one process there, whatever number it is told.
Whoever launches it (accelerate or torchrun, over several machines too), each process finds its part by its rank, and
results do not depend on how many there are. `out/` must be one folder to all of them.
"""

from __future__ import annotations

import os
import sys

NUM_PROCESSES_ENV = "SYNESTHESIA_NUM_PROCESSES"


class ProcessError(ValueError):
    """A number of processes that cannot be; the message says why and what to do."""


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes work on this."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes outs and talks to MLflow."""
    return rank() == 0


def relaunch_distributed(module: str, args: list[str]) -> None:
    """Become `launcher(...) --module module arguments` where several processes are wanted and none was launched.

    Wanted are as many as there are GPUs; SYNESTHESIA_NUM_PROCESSES says another number. Returns where it is one.
    """
    if "RANK" in os.environ:
        return
    gpus = _count_gpus()
    said = os.environ.get(NUM_PROCESSES_ENV)
    if said is not None and not (said.isdecimal() and int(said)):
        raise ProcessError(f"{NUM_PROCESSES_ENV} is {said!r}: it must be a whole number from 1")
    wanted = int(said) if said else gpus
    if wanted <= 1:
        return
    if 0 < gpus < wanted:
        raise ProcessError(
            f"{NUM_PROCESSES_ENV} is {wanted}, but there are {gpus} GPUs: a process needs one of its own"
        )
    command = [*launch_command(wanted, gpus > 0), "--module", module, *args]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def launch_command(num_processes: int, use_gpus: bool) -> list[str]:
    """The command that starts `count` processes on this machine of what follows: `--module name`, or a script."""
    if not use_gpus:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(num_processes),
        "--num_machines",
        "1",
    ]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [sys.executable, *launch, *plain]


def _count_gpus() -> int:
    if os.environ.get("SYNESTHESIA_DEVICE", "cuda").startswith("cpu"):
        return 0
    import torch

    return torch.cuda.device_count()


def barrier() -> None:
    """Return when every process is here."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=not _count_gpus()).wait_for_everyone()
