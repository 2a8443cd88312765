"""Forks of a server that has imported: to who asks they are what a process of its own would have been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from synesthesia.utils import preload_server

pytestmark = pytest.mark.slow  # real processes
PROBE = """
import json, os, subprocess, sys, time

def main(what, *more):
    if what == "tell":
        print(json.dumps({"folder": os.getcwd(), "arguments": more, "colour": os.environ.get("COLOUR"),
                          "forked": "prepared" in sys.modules, "read": sys.stdin.read()}))
        print("said aside", file=sys.stderr)
    elif what == "end":
        sys.exit(eval(more[0]))
    elif what == "fail":
        raise ZeroDivisionError("as a fault of the program")
    elif what == "die":
        os.kill(os.getpid(), 9)
    elif what == "wait":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        try:
            print(json.dumps([os.getpid(), child.pid]), flush=True)  # who reads it may interrupt before it returns
            time.sleep(600)
        except KeyboardInterrupt:
            child.kill()
            print("stopped", flush=True)
            sys.exit(130)
    elif what == "draw":
        import numpy, random, tempfile
        print(numpy.random.random(), random.random(), tempfile.mktemp())

main(*sys.argv[1:])
"""

WHO_ASKS = """
import sys
from synesthesia.utils import preload_server as forkserver
forkserver.IMPORTS["probe"] = ("prepared", "numpy")
code = forkserver.delegate("probe", sys.argv[1:])
if code is None:
    import probe
sys.exit(code)
"""

SERVER = """
from synesthesia.utils import preload_server as forkserver
forkserver.IMPORTS["probe"] = ("prepared", "numpy")
forkserver.main()
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """The probe, who asks for it, a server, and what the server imports."""
    for name, code in {"probe": PROBE, "asks": WHO_ASKS, "server": SERVER, "prepared": ""}.items():
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    paths = [str(folder), str(Path(preload_server.__file__).parents[2])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder), **more}


def ask(*arguments: str) -> list[str]:
    return [sys.executable, "asks.py", *arguments]


def under_server(folder: Path, command: list[str], **more) -> subprocess.CompletedProcess:
    served = [sys.executable, "server.py", *command]
    return subprocess.run(served, cwd=folder, env=environment(folder), capture_output=True, text=True, **more)


def test_a_fork_has_folder_arguments_environment_input_and_outputs_of_who_asked(folder):
    (folder / "below").mkdir()
    command = ["bash", "-c", f"cd below && echo given | COLOUR=blue {sys.executable} ../asks.py tell 'a b' c 2> aside"]
    done = under_server(folder, command)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    below = str(folder / "below")
    assert told == {"folder": below, "arguments": ["a b", "c"], "colour": "blue", "forked": True, "read": "given\n"}
    assert (folder / "below/aside").read_text() == "said aside\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["end", "0"], 0, ""),
        (["end", "None"], 0, ""),
        (["end", "3"], 3, ""),
        (["end", "'a sentence'"], 1, "a sentence"),
        (["fail"], 1, "ZeroDivisionError: as a fault of the program"),
        (["die"], 128 + signal.SIGKILL, ""),
    ],
)
def test_a_forks_end_is_the_end_of_who_asked_and_of_the_command(folder, arguments, code, said):
    done = under_server(folder, ask(*arguments))
    assert done.returncode == code
    assert done.stderr.splitlines()[-1:] == ([said] if said else [])


def test_several_forks_one_after_the_other_and_at_once_draw_different_numbers(folder):
    one = " ".join(ask("draw"))
    done = under_server(folder, ["bash", "-c", f"{one}; {one} & {one} & wait"])
    drawn = [value for line in done.stdout.splitlines() for value in line.split()]
    assert len(drawn) == len(set(drawn)) == 9


def test_the_servers_folder_is_private_while_it_serves_and_gone_afterwards(folder):
    told = "import os; print(oct(os.stat(os.path.dirname(os.environ['SYNESTHESIA_FORKSERVER'])).st_mode))"
    assert under_server(folder, [sys.executable, "-c", told]).stdout == "0o40700\n"
    assert not list(folder.glob("synesthesia-*"))


def test_a_command_that_is_not_there_is_named(folder):
    done = under_server(folder, ["no-such-command"])
    assert (done.returncode, done.stderr) == (1, "no-such-command: No such file or directory\n")


def started(folder: Path, *command: str) -> tuple[subprocess.Popen, list[int]]:
    """A server and a fork that waits: the server, and the ids of the fork and of a child of the fork."""
    server = subprocess.Popen(
        [sys.executable, "server.py", *command], cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True
    )
    return server, json.loads(server.stdout.readline())


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: list[int], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(lives(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def who_asked(server: subprocess.Popen) -> psutil.Process:
    return next(p for p in psutil.Process(server.pid).children(recursive=True) if "asks.py" in p.cmdline())


def test_an_interrupt_of_who_asked_is_one_of_the_fork(folder):
    server, pids = started(folder, *ask("wait"))
    who_asked(server).send_signal(signal.SIGINT)
    assert server.communicate(timeout=60)[0] == "stopped\n"
    assert server.returncode == 130
    assert gone(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fork_and_its_children_die_with_who_asked(folder, number):
    server, pids = started(folder, "bash", "-c", " ".join(ask("wait")) + "; echo $?")
    who_asked(server).send_signal(number)
    assert gone(pids[:1])
    if number == signal.SIGKILL:
        assert gone(pids)
    else:
        os.kill(pids[1], signal.SIGKILL)  # as with a process of one's own, its children are its own affair
    server.communicate(timeout=60)


def test_forks_die_with_the_server(folder):
    server, pids = started(folder, *ask("wait"))
    asked = who_asked(server)
    server.kill()
    asked.kill()
    server.communicate()
    assert gone([asked.pid, *pids])


@pytest.mark.parametrize("how", ["no server", "other variables", "newer code", "unknown module"])
def test_nobody_is_asked_where_a_fork_might_not_be_the_same(folder, how):
    told = {
        "no server": ["env", "-u", preload_server.VARIABLE, *ask("tell")],
        "other variables": ["env", "OMP_NUM_THREADS=7", *ask("tell")],
        "newer code": ["bash", "-c", f"touch {folder}/synesthesia/params.py; " + " ".join(ask("tell"))],
        "unknown module": [sys.executable, "-c", "import sys; sys.argv = ['', 'tell']; import probe"],
    }[how]
    if how == "newer code":
        (folder / "synesthesia").mkdir()
        for file in preload_server._PACKAGE.glob("*.py"):
            (folder / "synesthesia" / file.name).write_bytes(file.read_bytes())
    done = under_server(folder, told, stdin=subprocess.DEVNULL)
    assert json.loads(done.stdout)["forked"] is False
