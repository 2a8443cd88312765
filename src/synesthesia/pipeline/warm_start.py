"""Stages of one `dvc repro` as forks of a process that has already imported torch, transformers, peft and MLflow.

These imports take several seconds per process, and at the embedded size most stages compute for less than half a
minute. The first stage that DVC starts also starts a server, which exits with DVC. Every stage then connects to it and
becomes a fork (the idea of multiprocessing's start method "forkserver"): same folder, environment, arguments, and
standard streams; its exit code is passed back, signals are passed on, and it dies with the process that DVC started.

A stage runs in its own process, as it does without this module, if DVC did not start it, if SYNESTHESIA_WARM_START is
0, if the machine has a GPU (imports matter little there), if several processes share a stage, if its environment
changes what an import does, or if the package's code has changed since the server started.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, cast

from synesthesia.utils import distributed

SWITCH_ENV = "SYNESTHESIA_WARM_START"
_MLFLOW_IMPORTS = (
    "synesthesia.tracking.mlflow_client",  # first: sets the environment that MLflow reads at import
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "synesthesia.tracking.mlflow_writer",
)
_MODEL_IMPORTS = (
    "synesthesia.evaluation.local",
    "synesthesia.distillation.adapters",
    "synesthesia.distillation.trainer",
    "synesthesia.distillation.switch_training",
    "synesthesia.models.qwen2_5_omni",
    "synesthesia.models.qwen2_audio",
    "synesthesia.models.qwen2_vl",
    *_MLFLOW_IMPORTS,
)
IMPORTS = {  # what the server imports before it forks for a module; modules that are not here run by themselves
    "synesthesia.pipeline.make_questions": _MLFLOW_IMPORTS,
    "synesthesia.pipeline.evaluate": _MODEL_IMPORTS,
    "synesthesia.pipeline.import_answers": _MLFLOW_IMPORTS,
    "synesthesia.pipeline.measure_gap": _MLFLOW_IMPORTS,
    "synesthesia.pipeline.train_switch": _MODEL_IMPORTS,
    "synesthesia.pipeline.route": _MLFLOW_IMPORTS,
    "synesthesia.pipeline.distill": _MODEL_IMPORTS,
    "synesthesia.pipeline.evaluate_students": _MODEL_IMPORTS,
    "synesthesia.pipeline.report": _MLFLOW_IMPORTS,
}
_READ_AT_IMPORT = (
    "CUDA", "GOMP_", "HF_", "KMP_", "LD_", "MKL_", "MLFLOW_", "OMP_", "OPENBLAS", "PYTHON", "PYTORCH",
    "SYNESTHESIA_DEVICE", "TORCH", "TRANSFORMERS_",
)  # fmt: skip
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh", "fish"}
_PACKAGE_DIR = Path(__file__).parents[1]
_EXIT_CODE = struct.Struct("!i")
is_fork = False  # whether this process is a fork of a server


def run_in_fork(module: str, arguments: list[str]) -> int | None:
    """Let a fork of this `dvc repro`'s server do `python -m module arguments`.

    Args:
        module: A stage's module.
        arguments: Its command-line arguments.

    Returns:
        The exit code; None if this process has to do it itself.
    """
    if is_fork or module not in IMPORTS or not _is_applicable():
        return None
    request = {"state": _import_state(), "imports": IMPORTS[module], "module": module, "arguments": arguments,
               "folder": os.getcwd(), "environment": dict(os.environ)}  # fmt: skip
    try:
        server = _connect(_find_owner())
        socket.send_fds(server, [b"?"], [0, 1, 2])
        server.sendall(json.dumps(request).encode() + b"\n")
        if server.recv(1) != b"y":
            return None
    except OSError:
        return None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: server.sendall(bytes([received])))
    answer = server.recv(_EXIT_CODE.size, socket.MSG_WAITALL)
    if len(answer) < _EXIT_CODE.size:
        print(f"{module}: the process that ran it is gone; run the same command again to continue", file=sys.stderr)
        return 1
    code = _EXIT_CODE.unpack(answer)[0]
    return code if code >= 0 else 128 - code


def serve(owner: int, listener: int) -> None:
    """Fork for every connection until the owner has exited.

    Args:
        owner: Process id of DVC.
        listener: File descriptor of a listening Unix socket.
    """
    server = _Server(socket.socket(fileno=listener))
    path = Path(server.listener.getsockname())
    try:
        server.run(owner)
    finally:
        path.unlink(missing_ok=True)
    os._exit(0)  # freeing what was imported takes a second


def _is_applicable() -> bool:
    return (
        "DVC_STAGE" in os.environ
        and os.environ.get(SWITCH_ENV, "1") != "0"
        and hasattr(os, "pidfd_open")
        and not {"RANK", distributed.NUM_PROCESSES_ENV} & os.environ.keys()
        and not distributed.has_gpu_device()
    )


def _import_state() -> dict[str, Any]:
    """Describe what must be equal here and in the server: interpreter, variables, and the age of the code."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(_READ_AT_IMPORT)}
    package = [str(_PACKAGE_DIR), _newest_modification()]
    return {"python": sys.executable, "package": package, "variables": variables}


def _newest_modification() -> int:
    return max(file.stat().st_mtime_ns for file in _PACKAGE_DIR.rglob("*.py"))


def _find_owner() -> int:
    """Return the id of the process that started this one, shells between them aside: DVC."""
    process = os.getppid()
    while Path(f"/proc/{process}/comm").read_text().strip() in _SHELLS:
        process = int(_read_stat(process)[1])
    return process


def _read_stat(process: int) -> list[str]:
    """Return /proc/PID/stat from its third field on (proc(5)): state, parent's id, ..."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _connect(owner: int) -> socket.socket:
    """Connect to the owner's server; start it if there is none.

    Raises:
        OSError: This is not possible here.
    """
    folder = Path(tempfile.gettempdir()) / f"synesthesia-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not private")
    start_time = _read_stat(owner)[19]  # field 22: ids are used again, an id with its start time is not
    path = folder / f"{owner}-{start_time}"
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(str(path))
    except OSError:
        _start_server(owner, path)
        client.connect(str(path))
    return client


def _start_server(owner: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        code = f"from synesthesia.pipeline import warm_start; warm_start.serve({owner}, {listener.fileno()})"
        subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[listener.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class _Server:
    def __init__(self, listener: socket.socket) -> None:
        self.state = _import_state()
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.clients: dict[int, tuple[int, socket.socket]] = {}  # file descriptor of a fork -> its id and its client

    def run(self, owner: int) -> None:
        owner_exit = os.pidfd_open(owner)  # readable once the process has exited, pidfd_open(2)
        self.selector.register(owner_exit, selectors.EVENT_READ)
        self.selector.register(self.listener, selectors.EVENT_READ)
        is_owned = True
        while is_owned or self.clients:
            for key, _ in self.selector.select():
                if key.fd == owner_exit:
                    is_owned = False
                    self.selector.unregister(owner_exit)
                elif key.fd in self.clients:
                    self._report_exit(key.fd)
                else:
                    self._accept()

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        files: list[int] = []
        is_ready = False
        with contextlib.suppress(OSError, ValueError):  # the client has died meanwhile
            _, files, *_ = socket.recv_fds(client, 1, 3)
            with client.makefile("rb") as lines:
                request = json.loads(lines.readline())
            is_same = request.pop("state") == self.state and _newest_modification() == self.state["package"][1]
            is_ready = is_same and _import_all(request.pop("imports"))
            if is_ready:
                child = os.fork()
                if not child:
                    self._close_in_fork()
                    _become_stage(client, files, **request)
                child_exit = os.pidfd_open(child)
                self.clients[child_exit] = child, client
                self.selector.register(child_exit, selectors.EVENT_READ)
            client.sendall(b"y" if is_ready else b"n")
        for file in files:
            os.close(file)
        if not is_ready:
            client.close()

    def _report_exit(self, child_exit: int) -> None:
        child, client = self.clients.pop(child_exit)
        self.selector.unregister(child_exit)
        os.close(child_exit)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            client.sendall(_EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))
        client.close()

    def _close_in_fork(self) -> None:
        self.selector.close()
        self.listener.close()
        for child_exit, (_, client) in self.clients.items():
            os.close(child_exit)
            client.close()


def _import_all(modules: list[str]) -> bool:
    """Import modules; return whether that worked (the client finds out itself why it did not)."""
    gc.disable()  # a fifth of the time of imports
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception:
        return False
    gc.freeze()  # the collector does not touch, and so does not copy, the memory that forks share
    return True


def _become_stage(
    client: socket.socket, files: list[int], module: str, arguments: list[str], folder: str, environment: dict[str, str]
) -> NoReturn:
    """Be what `python -m module arguments` is, in a process group of its own."""
    global is_fork
    is_fork = True
    os.setpgid(0, 0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    cast(TextIOWrapper, sys.stdout).reconfigure(line_buffering=os.isatty(1))
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if "numpy" in sys.modules:  # Python's own generator is seeded again at a fork, NumPy's is not
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
    os._exit(code)


def _obey(client: socket.socket) -> None:
    """Pass on signals that the client receives; when it dies, kill this process and all that it has started."""
    with contextlib.suppress(OSError):
        while received := client.recv(1):
            os.kill(os.getpid(), received[0])
    os.killpg(0, signal.SIGKILL)
