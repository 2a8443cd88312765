"""Stages as processes of their own, forked from one that has imported all they need.

Importing torch and transformers takes seconds a process; a fork has them at once, and is killed as any other process.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import traceback
from pathlib import Path

from tqdm import tqdm

FORK = multiprocessing.get_context("fork")
IMPORTED = (
    "data.decode_jobs",
    "data.executors.local",
    "evaluation.local",
    "distillation.switch",
    "models.qwen2_audio",
    "models.qwen2_vl",
    "distillation.trainer",
    "pipeline.report",
    "synthetic.generate",
)  # below synesthesia


class Stages:
    """`with Stages() as stages: pid = stages.start(folder, "synesthesia.pipeline.make_questions"); stages.end()`, one at a time."""

    def __enter__(self) -> Stages:
        self.here, there = FORK.Pipe()
        self.origin = FORK.Process(target=serve, args=(self.here, there))  # has what this process has imported
        self.origin.start()
        there.close()
        assert self.here.recv() == "imported"
        return self

    def __exit__(self, *_) -> None:
        self.here.close()
        self.origin.join()

    def start(self, folder: Path, module: str, *arguments: str) -> int:
        """Begin `python -m module arguments` in the folder, in a process group of its own; gives its id."""
        self.folder = folder
        self.here.send([str(folder), module, *arguments])
        self.running = self.here.recv()
        return self.running

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code (minus the signal that killed it), and what it said on stderr.

        A stage takes seconds here: one that has not ended after ten minutes never will, and is killed.
        """
        if not self.here.poll(600):
            os.killpg(self.running, signal.SIGKILL)
        code = self.here.recv()
        return code, (self.folder / "stderr.txt").read_text()


def serve(test, pipe) -> None:
    """Fork a process for each message: a folder, a module, its arguments."""
    test.close()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in IMPORTED:
        importlib.import_module(f"synesthesia.{name}")
    sys.modules["torch"].set_num_threads(1)
    sys.modules["synesthesia.distillation.switch"].import_panns_models()
    importlib.import_module("librosa.util.utils")  # torchlibrosa asks for it first; compiles for a second
    pipe.send("imported")
    while True:
        try:
            command = pipe.recv()
        except EOFError:
            os._exit(0)  # tidying up would take longer than a stage
        child = os.fork()
        if not child:
            pipe.close()
            become(*command)
        os.setpgid(child, child)  # here too, so that it is so before anybody hears of it
        pipe.send(child)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def lock_bars_alone(bars: type[tqdm]) -> None:
    """Give progress bars of all kinds a lock of this process's own.

    Forks share the one of a process that has shown a bar: a stage killed while it draws would stop all that follow.
    """
    bars.set_lock(threading.RLock())
    for kind in bars.__subclasses__():
        lock_bars_alone(kind)


def become(folder: str, module: str, *arguments: str) -> None:
    """What `python -m module arguments` does in the folder, but for tidying up memory that ends with the process."""
    os.setpgid(0, 0)
    lock_bars_alone(tqdm)
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
