"""Stages as processes of their own, forked from one that has imported all they need.

Importing torch and transformers takes seconds a process; a fork has them at once, and is killed as any other process.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

IMPORTED = (
    "chunks",
    "engines.processes",
    "answering",
    "switch",
    "models.qwen2_audio",
    "models.qwen2_vl",
    "distillation.trainer",
    "report.study",
    "world.make",
)  # below synesthesia


class Stages:
    """`with Stages() as stages: pid = stages.start(folder, "synesthesia.stages.ask"); stages.end()`, one at a time."""

    def __enter__(self) -> Stages:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.origin = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.origin.stdout.readline() == "imported\n"
        return self

    def __exit__(self, *_) -> None:
        self.origin.communicate()  # its input ends, and so does it

    def start(self, folder: Path, module: str, *arguments: str) -> int:
        """Begin `python -m module arguments` in the folder, in a process group of its own; gives its id."""
        self.folder = folder
        print(json.dumps([str(folder), module, *arguments]), file=self.origin.stdin, flush=True)
        return int(self.origin.stdout.readline())

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code (minus the signal that killed it), and what it said on stderr."""
        code = int(self.origin.stdout.readline())
        return code, (self.folder / "stderr.txt").read_text()


def serve() -> None:
    """Fork a process for each line of stdin: a folder, a module, its arguments."""
    for name in IMPORTED:
        importlib.import_module(f"synesthesia.{name}")
    print("imported", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(*json.loads(line))
        os.setpgid(child, child)  # here too, so that it is so before anybody hears of it
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(folder: str, module: str, *arguments: str) -> None:
    """What `python -m module arguments` does in the folder, but for tidying up memory that ends with the process."""
    os.setpgid(0, 0)
    os.chdir(folder)
    for number, path in enumerate((os.devnull, os.devnull, "stderr.txt")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [module, *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
    os._exit(0)  # tidying up would take longer than a stage
