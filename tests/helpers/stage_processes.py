"""Run stages as separate processes, forked from a server process that has already imported their dependencies.

Importing torch and transformers takes seconds per process. A forked process has them immediately, and can be killed
like any other.
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
PRELOADED = (
    "data.decode_jobs",
    "data.executors.local",
    "evaluation.local",
    "distillation.switch",
    "models.qwen2_audio",
    "models.qwen2_vl",
    "distillation.trainer",
    "pipeline.report",
    "synthetic.generate",
)  # modules of synesthesia


class StageRunner:
    """Run stages one at a time.

    Example:
        with StageRunner() as stages:
            process_id = stages.start(folder, "synesthesia.pipeline.make_questions")
            exit_code, stderr = stages.wait()
    """

    def __enter__(self) -> StageRunner:
        self.pipe, child_pipe = FORK.Pipe()
        self.server = FORK.Process(target=serve, args=(self.pipe, child_pipe))  # inherits imported modules
        self.server.start()
        child_pipe.close()
        assert self.pipe.recv() == "imported"
        return self

    def __exit__(self, *_) -> None:
        self.pipe.close()
        self.server.join()

    def start(self, folder: Path, module: str, *arguments: str) -> int:
        """Start `python -m module arguments` in the folder, in a new process group; return its id."""
        self.folder = folder
        self.pipe.send([str(folder), module, *arguments])
        self.process_id = self.pipe.recv()
        return self.process_id

    def wait(self) -> tuple[int, str]:
        """Wait for the process; return its exit code (negative: the signal that killed it) and its stderr.

        Stages take seconds in tests; one that has not ended after ten minutes is killed.
        """
        if not self.pipe.poll(600):
            os.killpg(self.process_id, signal.SIGKILL)
        code = self.pipe.recv()
        return code, (self.folder / "stderr.txt").read_text()


def serve(test_pipe, pipe) -> None:
    """Fork a process per message, which consists of a folder, a module and its arguments."""
    test_pipe.close()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        importlib.import_module(f"synesthesia.{name}")
    sys.modules["torch"].set_num_threads(1)
    sys.modules["synesthesia.distillation.switch"].import_panns_models()
    importlib.import_module("librosa.util.utils")  # compiles for a second when torchlibrosa imports it
    pipe.send("imported")
    while True:
        try:
            command = pipe.recv()
        except EOFError:
            os._exit(0)  # a regular interpreter exit takes longer than a stage
        child = os.fork()
        if not child:
            pipe.close()
            run_module(*command)
        os.setpgid(child, child)  # also set here, so that the group exists before the id is sent
        pipe.send(child)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def reset_progress_bar_locks(bars: type[tqdm]) -> None:
    """Give progress bars of all classes a lock that belongs to this process.

    Forks share the lock of a parent that has drawn a bar: a stage killed while drawing would block all later ones.
    """
    bars.set_lock(threading.RLock())
    for subclass in bars.__subclasses__():
        reset_progress_bar_locks(subclass)


def run_module(folder: str, module: str, *arguments: str) -> None:
    """Run `python -m module arguments` in the folder, but exit without freeing memory."""
    os.setpgid(0, 0)
    reset_progress_bar_locks(tqdm)
    os.chdir(folder)
    for number, path in enumerate((os.devnull, os.devnull, "stderr.txt")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [module, *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
