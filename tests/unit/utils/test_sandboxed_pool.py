"""Workers that hang, die, or exhaust memory cost one item each."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synesthesia.utils.sandboxed_pool import SandboxedPool, WorkerError, WorkerFailure

pytestmark = pytest.mark.slow  # starts processes: seconds each


def process(item):
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
    if kind == "allocate":
        try:
            return len(bytearray(8 << 30))
        except MemoryError:
            return "out of memory"
    return value


def map_items(items, num_workers=2, timeout=20.0):
    with SandboxedPool(process, num_workers, timeout=timeout, memory_bytes=1 << 30, prefetch=4) as pool:
        return list(pool.map(items))


def test_results_are_in_order_of_items():
    items = [("slow" if n % 7 == 0 else "quick", n) for n in range(40)]
    assert map_items(items) == list(range(40))


def test_items_that_crash_hang_or_exhaust_memory_cost_only_themselves():
    items = [("quick", n) for n in range(8)]
    items[2:2] = [("die", 0), ("hang", 0), ("allocate", 0)]
    results = map_items(items, timeout=1.0)
    failures = [n for n, result in enumerate(results) if isinstance(result, WorkerFailure)]
    assert failures == [2, 3] and results[4] == "out of memory"
    assert "died" in results[2].reason and "not finished after 1 s" in results[3].reason
    assert [result for result in results if isinstance(result, int)] == list(range(8))


def test_item_is_retried_after_its_worker_is_killed(tmp_path):
    path = str(tmp_path / "killed")
    assert map_items([("quick", 1), ("die once", path), ("quick", 2)]) == [1, path, 2]


def test_no_items_give_no_results():
    assert map_items([]) == []


class ExitOnUnpickle:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)

    def __call__(self, item):
        return item


def test_workers_that_cannot_start_raise_an_error():
    pool = SandboxedPool(ExitOnUnpickle(), 1, timeout=1, memory_bytes=1 << 30)
    with pytest.raises(WorkerError, match="does not start"):
        pool.__enter__()


def test_endless_loop_ends_by_the_cpu_time_limit_without_a_parent():
    code = "from synesthesia.utils import sandboxed_pool\nsandboxed_pool._limit_cpu_time(0.2)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGXCPU
