"""Worker processes that may hang or die: each costs no more than the item it was at.

`concurrent.futures` gives up its whole pool when one worker is killed, and cannot stop one that hangs. Media libraries
do both on hostile files, so here every worker has its own pipe, and for each item a deadline and a limit of processor
time; its address space is limited, and it leaves no core file. The processor's limit is the kernel's, so a worker that
spins ends even where the process that should stop it was killed.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

START_TIMEOUT = 120.0


class WorkerError(RuntimeError):
    """Worker processes cannot be started at all."""


@dataclass(frozen=True)
class WorkerFailure:
    """In place of a result: what became of the worker."""

    reason: str


@dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    task: tuple[int, Any, int] | None = None  # index, item, tries before
    deadline: float = 0.0


class SandboxedPool:
    """`with Pool(work, 2, seconds=60, memory_bytes=2 << 30) as pool: for result in pool.map(items): ...`

    `work` is a function of a module, called as `work(item)` in a worker; results come in the items' order. An item
    that is not done after `seconds` by the clock or on the processor, or whose worker dies twice, gives `Lost` (dying
    is tried again once, since a worker may be killed from outside). A worker may take `memory_bytes` of address space
    beyond what it starts with; what asks for more gets a MemoryError, or the library's error for it. At most `ahead`
    items are worked on beyond the one that is waited for, which bounds memory. The modules of `preload` are imported
    once for all workers.
    """

    def __init__(
        self,
        func: Callable,
        num_workers: int,
        *,
        timeout: float,
        memory_bytes: int,
        prefetch: int = 64,
        preload: Sequence[str] = (),
    ):
        self._work, self._num_workers, self._timeout = func, max(1, num_workers), timeout
        self._memory_bytes, self._ahead = memory_bytes, max(prefetch, 2 * num_workers)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._workers: list[_Worker] = []

    def __enter__(self) -> SandboxedPool:
        self._workers = [self._start() for _ in range(self._num_workers)]
        return self

    def __exit__(self, *_) -> None:
        for worker in self._workers:
            self._stop(worker)
        self._workers = []

    def map(self, items: Iterable) -> Iterator:
        """Results of `work` in the order of `items`; `Lost` for an item that cost its worker."""
        todo, again = enumerate(items), deque()
        ready: dict[int, Any] = {}
        awaited, exhausted = 0, False
        while True:
            for place, worker in enumerate(self._workers):
                if worker.task is not None:
                    continue
                task = again.popleft() if again else None
                if task is None and not exhausted and awaited + self._ahead > self._furthest(ready, awaited):
                    drawn = next(todo, None)
                    exhausted = drawn is None
                    task = None if drawn is None else (*drawn, 0)
                if task is not None:
                    self._give(place, task)
            busy = {w.pipe: (n, w) for n, w in enumerate(self._workers) if w.task is not None}
            if not busy:
                break
            wait = max(0.0, min(w.deadline for _, w in busy.values()) - time.monotonic())
            for pipe in connection.wait(list(busy), wait):
                place, worker = busy[pipe]
                index, item, tries = worker.task
                try:
                    ready[index] = worker.pipe.recv()
                    worker.task = None
                except (EOFError, OSError):
                    worker.process.join(1)
                    code = worker.process.exitcode
                    self._replace(place)
                    if code == -signal.SIGXCPU:
                        ready[index] = WorkerFailure(f"not done after {self._timeout:g} s of processor time")
                    elif tries:
                        ready[index] = WorkerFailure(f"the worker died ({_describe_exit(code)})")
                    else:
                        again.append((index, item, tries + 1))
            now = time.monotonic()
            for place, worker in enumerate(self._workers):
                if worker.task is not None and worker.deadline <= now and not worker.pipe.poll():
                    ready[worker.task[0]] = WorkerFailure(f"not done after {self._timeout:g} s")
                    self._replace(place)
            while awaited in ready:
                yield ready.pop(awaited)
                awaited += 1

    def _furthest(self, results: dict, awaited: int) -> int:
        given = [w.task[0] for w in self._workers if w.task is not None]
        return max([*results, *given, awaited - 1]) + 1

    def _give(self, slot: int, task: tuple[int, Any, int]) -> None:
        for _ in range(3):
            worker = self._workers[slot]
            try:
                worker.pipe.send(task[1])
            except OSError:  # it died while idle
                self._replace(slot)
                continue
            worker.task, worker.deadline = task, time.monotonic() + self._timeout
            return
        raise WorkerError("worker processes die as soon as they are given work")

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        given = (theirs, self._work, self._timeout, self._memory_bytes)
        process = self._context.Process(target=_worker_loop, args=given, daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        try:
            if ours.poll(START_TIMEOUT) and ours.recv() == "ready":
                return worker
        except (EOFError, OSError):
            pass
        self._stop(worker)
        raise WorkerError(f"a worker process does not start (exit code {process.exitcode}): is there enough memory?")

    def _replace(self, slot: int) -> None:
        self._stop(self._workers[slot])
        self._workers[slot] = self._start()

    @staticmethod
    def _stop(worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.kill()
        worker.process.join(5)


def cpu_count() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


def _worker_loop(pipe: connection.Connection, func: Callable, timeout: float, memory_bytes: int) -> None:
    _limit_memory(memory_bytes)
    try:
        pipe.send("ready")
        while True:
            item = pipe.recv()
            _limit_cpu_time(timeout)
            pipe.send(func(item))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _limit_memory(memory_bytes: int) -> None:
    """Limit the address space to `memory_bytes` more than now, and core files to nothing."""
    with contextlib.suppress(OSError, ValueError):  # no such limit on this system: the deadline still holds
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, resource.RLIM_INFINITY))


def _limit_cpu_time(seconds: float) -> None:
    """Let this process run for `seconds` more on the processor, rounded up; SIGXCPU ends it then."""
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), most))
