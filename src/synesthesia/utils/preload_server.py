"""Stages as forks of one process that has imported what they need, so that they begin at once.

Importing torch, transformers and peft takes a process some eight seconds, MLflow four, and at the embedded size most
stages compute for less than twenty. `python -m synesthesia.utils.preload_server COMMAND ...` runs the command. The first stage in
it that needs an import has it done here; this and every later one become forks of this process (multiprocessing's start
method "forkserver" is the same idea). A fork has the folder, environment, arguments, input and outputs of the process
that asked, whose exit code becomes its own; signals are passed on to it, and it dies with who asked. A stage runs by
itself, as it does without all this, where there is no server, where its environment lets an import do something else,
or where code has changed since.

Examples:
  python -m synesthesia.utils.preload_server dvc repro
  python -m synesthesia.utils.preload_server dvc repro --force distill@visual-to-audio examine@visual-to-audio
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

VARIABLE = "SYNESTHESIA_FORKSERVER"  # the socket's path
_MODELS = (
    "synesthesia.evaluation.local",
    "synesthesia.distillation.adapters",
    "synesthesia.distillation.trainer",
    "synesthesia.models.qwen2_5_omni",
    "synesthesia.models.qwen2_audio",
    "synesthesia.models.qwen2_vl",
    "synesthesia.distillation.switch",
)
_MLFLOW = (
    "synesthesia.tracking.mlflow_writer",  # before MLflow itself: quietens it
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
)
IMPORTS = {  # what a fork of this module finds imported; modules that are not here run by themselves
    "synesthesia.pipeline.evaluate": _MODELS,
    "synesthesia.pipeline.distill": _MODELS,
    "synesthesia.pipeline.evaluate_students": _MODELS,
    "synesthesia.pipeline.train_switch": _MODELS,
    "synesthesia.tracking.worker": _MLFLOW,
}
_READ_AT_IMPORT = ("CUDA", "GOMP_", "HF_", "KMP_", "LD_", "MKL_", "OMP_", "OPENBLAS", "PYTHON", "PYTORCH", "TORCH",
                   "TRANSFORMERS_")  # fmt: skip
_PACKAGE = Path(__file__).parents[1]
_CODE = struct.Struct("!i")
forked = False  # whether this process is a fork of a server


def delegate(module: str, arguments: list[str]) -> int | None:
    """Let a fork of the server do `python -m module arguments` and give its exit code; None: do it yourself.

    module: a key of IMPORTS, or else the answer is None.
    """
    if forked or module not in IMPORTS or not os.environ.get(VARIABLE):
        return None
    request = {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ),
               "state": _state()}  # fmt: skip
    try:
        server = socket.socket(socket.AF_UNIX)
        server.connect(os.environ[VARIABLE])
        socket.send_fds(server, [b"?"], [0, 1, 2])
        server.sendall(json.dumps(request).encode() + b"\n")
        if server.recv(1) != b"y":
            return None
    except OSError:
        return None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda said, _: server.sendall(bytes([said])))
    answer = server.recv(_CODE.size, socket.MSG_WAITALL)
    if len(answer) < _CODE.size:
        print(f"{module}: the process that ran it is gone; run the same command again to go on", file=sys.stderr)
        return 1
    code = _CODE.unpack(answer)[0]
    return code if code >= 0 else 128 - code


def _state() -> dict:
    """What must be the same in the server and in who asks: interpreter, variables, and the newest of the code."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(_READ_AT_IMPORT)}
    return {"python": sys.executable, "package": str(_PACKAGE), "newest": _newest(), "variables": variables}


def _newest() -> int:
    return max(file.stat().st_mtime_ns for file in _PACKAGE.rglob("*.py"))


class Server:
    """Forks for who asks at `path`, until the command has ended."""

    def __init__(self, path: str) -> None:
        self.state = _state()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.asking: dict[int, socket.socket] = {}  # pid of a fork -> who asked for it

    def run(self, command: list[str]) -> int:
        """Start the command and serve it to its end; its exit code. Raises OSError where it cannot be started."""
        ended, wake = socket.socketpair()
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, lambda *_: None)  # the command has it too, and ends; so does this
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.listener, selectors.EVENT_READ)
            waiting.register(ended, selectors.EVENT_READ)
            process = subprocess.Popen(command)
            while (code := process.poll()) is None:
                for key, _ in waiting.select():
                    if key.fileobj is ended:
                        ended.recv(4096)
                    else:
                        self._serve(self.listener.accept()[0])
                self._reap()
        return code

    def _serve(self, client: socket.socket) -> None:
        _, files, *_ = socket.recv_fds(client, 1, 3)
        try:
            with client.makefile("rb") as lines:
                request = json.loads(lines.readline())
            same = request.pop("state") == self.state and _newest() == self.state["newest"]
            ready = same and self._ready(request["module"])
        except ValueError:  # who asked has died meanwhile
            ready = False
        if ready:
            sys.stdout.flush()
            child = os.fork()
            if not child:
                self.listener.close()
                _become(client, files, **request)
            self.asking[child] = client
        with contextlib.suppress(OSError):
            client.sendall(b"y" if ready else b"n")
        for file in files:
            os.close(file)

    def _ready(self, module: str) -> bool:
        """Import what a fork of this module needs; whether that worked (who asked will see for itself why not)."""
        gc.disable()  # a fifth of an import's time
        try:
            for name in IMPORTS[module]:
                importlib.import_module(name)
        except Exception:
            return False
        gc.freeze()
        return True

    def _reap(self) -> None:
        """Tell those whose fork has ended how it did."""
        for child, client in list(self.asking.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                with contextlib.suppress(OSError):
                    client.sendall(_CODE.pack(os.waitstatus_to_exitcode(status)))
                self.asking.pop(child).close()


def _become(client: socket.socket, files: list[int], module: str, arguments: list[str], folder: str,
            environment: dict[str, str]) -> NoReturn:  # fmt: skip
    """Be what `python -m module arguments` is, in a process group of its own."""
    global forked
    forked = True
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setpgid(0, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if "numpy" in sys.modules:  # Python's own generator is seeded anew at a fork
            sys.modules["numpy"].random.seed()
        gc.enable()
        threading.Thread(target=_obey, args=(client,), daemon=True).start()
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # freeing what was imported would take as long as a short stage


def _obey(client: socket.socket) -> None:
    """Signals come from who asked; when it dies, so does this process and all that it has started."""
    with contextlib.suppress(OSError):
        while said := client.recv(1):
            os.kill(os.getpid(), said[0])
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.utils.preload_server", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="what to run")
    command = parser.parse_args().command
    if not command:
        parser.error("which command?")
    folder = tempfile.mkdtemp(prefix="synesthesia-")  # nobody else may enter it; not TemporaryDirectory, which forks
    os.environ[VARIABLE] = str(Path(folder) / "socket")  # would remove at their end too
    try:
        code = Server(os.environ[VARIABLE]).run(command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    # Not as "__main__": the forks' modules ask this very module whether they are forks.
    from synesthesia.utils import preload_server

    preload_server.main()
