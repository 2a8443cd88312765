"""A fork of the server behaves as a process of its own would, and no fork is used where it might not."""

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

from synesthesia.pipeline import warm_start

pytestmark = pytest.mark.slow  # real processes
PROBE = """
import json, os, subprocess, sys, time

def main(action, *more):
    if action == "describe":
        print(json.dumps({"folder": os.getcwd(), "arguments": more, "color": os.environ.get("COLOR"),
                          "forked": "preloaded" in sys.modules, "read": sys.stdin.read()}))
        print("to stderr", file=sys.stderr)
    elif action == "exit":
        sys.exit(eval(more[0]))
    elif action == "raise":
        raise ZeroDivisionError("a programming error")
    elif action == "die":
        os.kill(os.getpid(), 9)
    elif action == "wait":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        try:
            print(json.dumps([os.getpid(), child.pid]), flush=True)  # the reader may interrupt before this returns
            time.sleep(600)
        except KeyboardInterrupt:
            child.kill()
            print("stopped", flush=True)
            sys.exit(130)
    elif action == "draw":
        import numpy, random, tempfile
        print(numpy.random.random(), random.random(), tempfile.mktemp())

main(*sys.argv[1:])
"""

STAGE = """
import sys
from synesthesia.pipeline import warm_start
warm_start.IMPORTS["probe"] = ("preloaded", "numpy")
warm_start.distributed.GPU_DEVICES = ()
code = warm_start.run_in_fork("probe", sys.argv[1:])
if code is None:
    import probe
sys.exit(code)
"""

DVC = """
import os, subprocess, sys
os.environ["DVC_STAGE"] = "probe"
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Create the probe, a stage that runs it, what the server imports, and a program that starts stages as DVC does."""
    for name, code in {"probe": PROBE, "stage": STAGE, "starter": DVC, "preloaded": ""}.items():
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


@pytest.fixture
def temporary_dir():
    """A temporary directory whose name is short enough for a socket."""
    path = Path(f"/tmp/ws-{os.getpid()}-{time.monotonic_ns() % 10**9}")
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


@pytest.fixture
def environment(folder, temporary_dir) -> dict[str, str]:
    paths = [str(folder), str(Path(warm_start.__file__).parents[2])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(temporary_dir)}


def stage(*arguments: str) -> list[str]:
    return [sys.executable, "stage.py", *arguments]


@pytest.fixture
def run_under_dvc(folder, environment):
    def run(command: list[str], **more) -> subprocess.CompletedProcess:
        command = [sys.executable, "starter.py", *command]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **more)

    return run


def test_a_fork_has_the_folder_arguments_environment_and_streams_of_the_stage(folder, run_under_dvc):
    (folder / "below").mkdir()
    script = f"cd below && echo given | COLOR=blue {sys.executable} ../stage.py describe 'a b' c 2> errors"
    done = run_under_dvc(["bash", "-c", script])
    assert (done.returncode, done.stderr) == (0, "")
    below = str(folder / "below")
    expected = {"folder": below, "arguments": ["a b", "c"], "color": "blue", "forked": True, "read": "given\n"}
    assert json.loads(done.stdout) == expected
    assert (folder / "below/errors").read_text() == "to stderr\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["exit", "0"], 0, ""),
        (["exit", "None"], 0, ""),
        (["exit", "3"], 3, ""),
        (["exit", "'a sentence'"], 1, "a sentence"),
        (["raise"], 1, "ZeroDivisionError: a programming error"),
        (["die"], 128 + signal.SIGKILL, ""),
    ],
)
def test_the_exit_of_a_fork_is_the_exit_of_the_stage(run_under_dvc, arguments, code, message):
    done = run_under_dvc(stage(*arguments))
    assert done.returncode == code
    assert done.stderr.splitlines()[-1:] == ([message] if message else [])


def test_forks_in_sequence_and_at_once_draw_different_random_numbers(run_under_dvc):
    one = " ".join(stage("draw"))
    done = run_under_dvc(["bash", "-c", f"{one}; {one} & {one} & wait"])
    drawn = [value for line in done.stdout.splitlines() for value in line.split()]
    assert len(drawn) == len(set(drawn)) == 9


def test_stages_of_one_dvc_share_a_server_that_exits_with_it(run_under_dvc, temporary_dir):
    listing = f"ls {temporary_dir}/synesthesia-*"
    one = " ".join(stage("exit 0"))
    done = run_under_dvc(
        ["bash", "-c", f"{one}; {listing}; {one}; {listing}; stat -c %a {temporary_dir}/synesthesia-*"]
    )
    first, second, mode = done.stdout.split()
    assert first == second
    assert mode == "700"
    deadline = time.monotonic() + 20
    while list(temporary_dir.glob("synesthesia-*/*")):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)


def start(folder: Path, environment: dict[str, str], *command: str) -> tuple[subprocess.Popen, list[int]]:
    """Start a stage that waits; return the starter, and the ids of the fork and of the fork's child."""
    starter = subprocess.Popen(
        [sys.executable, "starter.py", *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    return starter, json.loads(starter.stdout.readline())


def is_alive(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def have_exited(process_ids: list[int], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_alive(process_id) for process_id in process_ids):
            return True
        time.sleep(0.02)
    return False


def find_stage(starter: subprocess.Popen) -> psutil.Process:
    children = psutil.Process(starter.pid).children(recursive=True)
    return next(process for process in children if "stage.py" in process.cmdline())


def test_an_interrupt_of_the_stage_interrupts_the_fork(folder, environment):
    starter, process_ids = start(folder, environment, *stage("wait"))
    find_stage(starter).send_signal(signal.SIGINT)
    assert starter.communicate(timeout=60)[0] == "stopped\n"
    assert starter.returncode == 130
    assert have_exited(process_ids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fork_dies_with_the_stage(folder, environment, number):
    starter, process_ids = start(folder, environment, "bash", "-c", " ".join(stage("wait")) + "; echo $?")
    find_stage(starter).send_signal(number)
    assert have_exited(process_ids[:1])
    if number == signal.SIGKILL:
        assert have_exited(process_ids)
    else:
        os.kill(process_ids[1], signal.SIGKILL)  # as for any process: its children do not get its signal
    starter.communicate(timeout=60)


def test_a_fork_outlives_a_killed_dvc_as_a_stage_does(folder, environment):
    starter, process_ids = start(folder, environment, *stage("wait"))
    running = find_stage(starter)
    starter.kill()
    starter.wait()
    assert all(is_alive(process_id) for process_id in process_ids)
    running.kill()
    assert have_exited([running.pid, *process_ids])


@pytest.mark.parametrize(
    "case", ["not under DVC", "switched off", "other variables", "newer code", "unknown module", "long path"]
)
def test_no_fork_is_used_where_it_might_differ(folder, environment, run_under_dvc, case):
    describe = " ".join(stage("describe"))
    if case == "newer code":
        for folder_name in ("pipeline", "utils"):
            (folder / "synesthesia" / folder_name).mkdir(parents=True)
        for file in (
            "__init__.py",
            "pipeline/__init__.py",
            "pipeline/warm_start.py",
            "utils/__init__.py",
            "utils/distributed.py",
        ):
            (folder / "synesthesia" / file).write_bytes((warm_start._PACKAGE_DIR / file).read_bytes())
    environment |= {"TMPDIR": str(folder / ("x" * 100))} if case == "long path" else {}
    (folder / ("x" * 100)).mkdir()
    warm = " ".join(stage("exit", "0"))
    command = {
        "not under DVC": f"env -u DVC_STAGE {describe}",
        "switched off": f"SYNESTHESIA_WARM_START=0 {describe}",
        "other variables": f"{warm}; OMP_NUM_THREADS=7 {describe}",
        "newer code": f"{warm}; touch {folder}/synesthesia/__init__.py; {describe}",
        "unknown module": f"{sys.executable} -c \"import sys; sys.argv = ['', 'describe']; import probe\"",
        "long path": describe,
    }[case]
    done = run_under_dvc(["bash", "-c", command], stdin=subprocess.DEVNULL)
    assert json.loads(done.stdout)["forked"] is False


def test_every_module_of_the_table_is_a_stage_and_every_import_exists():
    import importlib.util

    for module, imports in warm_start.IMPORTS.items():
        for name in (module, *imports):
            assert importlib.util.find_spec(name), name
