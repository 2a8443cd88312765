"""Workers that hang, die or eat memory cost one item each."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synesthesia.utils.sandboxed_pool import SandboxedPool, WorkerError, WorkerFailure

pytestmark = pytest.mark.slow  # real files and figures: seconds each


def work(item):
    kind, value = item
    if kind == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "die once" and not Path(value).exists():
        Path(value).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    if kind == "slow":
        time.sleep(0.05)
    if kind == "eat":
        try:
            return len(bytearray(8 << 30))
        except MemoryError:
            return "no memory"
    return value


def answers(items, count=2, seconds=20.0):
    with SandboxedPool(work, count, timeout=seconds, memory_bytes=1 << 30, prefetch=4) as pool:
        return list(pool.map(items))


def test_results_come_in_order_whatever_takes_long():
    items = [("slow" if n % 7 == 0 else "quick", n) for n in range(40)]
    assert answers(items) == list(range(40))


def test_one_that_dies_one_that_hangs_and_one_that_eats_memory_cost_only_themselves():
    items = [("quick", n) for n in range(8)]
    items[2:2] = [("die", 0), ("hang", 0), ("eat", 0)]
    got = answers(items, seconds=1.0)
    lost = [n for n, answer in enumerate(got) if isinstance(answer, WorkerFailure)]
    assert lost == [2, 3] and got[4] == "no memory"
    assert "died" in got[2].why and "not done after 1 s" in got[3].why
    assert [answer for answer in got if isinstance(answer, int)] == list(range(8))


def test_a_worker_killed_from_outside_costs_nothing(tmp_path):
    path = str(tmp_path / "killed")
    assert answers([("quick", 1), ("die once", path), ("quick", 2)]) == [1, path, 2]


def test_no_items_no_results():
    assert answers([]) == []


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)

    def __call__(self, item):
        return item


def test_workers_that_cannot_start_are_an_error_and_no_endless_loop():
    pool = SandboxedPool(Deadly(), 1, timeout=1, memory_bytes=1 << 30)
    with pytest.raises(WorkerError, match="does not start"):
        pool.__enter__()


def test_a_worker_that_spins_ends_by_itself_where_nobody_is_left_to_stop_it():
    spin = "from synesthesia import workers\nworkers._limit_processor(0.2)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", spin], timeout=60).returncode == -signal.SIGXCPU
