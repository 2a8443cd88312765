"""Several processes on one stage item, one a GPU, on one machine or several; started by accelerate's launcher.

A stage that computes starts itself again through `accelerate launch`, one process a GPU, where a machine has several;
without GPUs through torchrun, since accelerate (1.15) starts one process there, whatever number it is told.
Whoever launches it (accelerate or torchrun, over several machines too), each process finds its part by its rank, and
results do not depend on how many there are. `out/` must be one folder to all of them.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "SYNESTHESIA_PROCESSES"


class ProcessError(ValueError):
    """A number of processes that cannot be; the message says why and what to do."""


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """How many processes work on this."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes outs and talks to MLflow."""
    return rank() == 0


def spread(module: str, arguments: list[str]) -> None:
    """Become `launcher(...) --module module arguments` where several processes are wanted and none was launched.

    Wanted are as many as there are GPUs; SYNESTHESIA_PROCESSES says another number. Returns where it is one.
    """
    if "RANK" in os.environ:
        return
    gpus = _gpus()
    said = os.environ.get(VARIABLE)
    if said is not None and not (said.isdecimal() and int(said)):
        raise ProcessError(f"{VARIABLE} is {said!r}: it must be a whole number from 1")
    wanted = int(said) if said else gpus
    if wanted <= 1:
        return
    if 0 < gpus < wanted:
        raise ProcessError(f"{VARIABLE} is {wanted}, but there are {gpus} GPUs: a process needs one of its own")
    command = [*launcher(wanted, gpus > 0), "--module", module, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


def launcher(count: int, gpus: bool) -> list[str]:
    """The command that starts `count` processes on this machine of what follows: `--module name`, or a script."""
    if not gpus:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count), "--num_machines", "1"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [sys.executable, *launch, *plain]


def _gpus() -> int:
    if os.environ.get("SYNESTHESIA_DEVICE", "cuda").startswith("cpu"):
        return 0
    import torch

    return torch.cuda.device_count()


def wait() -> None:
    """Return when every process is here."""
    if world() > 1:
        from accelerate import PartialState

        PartialState(cpu=not _gpus()).wait_for_everyone()
