"""A process pool in which a worker that hangs or dies costs only the item it was processing.

`concurrent.futures` gives up its whole pool when one worker is killed, and cannot stop one that hangs. Media libraries
do both on corrupted files. Here, every worker has its own pipe, and each item a deadline and a CPU time limit; the
address space is limited, and core files are disabled. The kernel enforces the CPU time limit, so a worker in an endless
loop ends even if its parent was killed.
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

START_TIMEOUT = 120.0  # s until a new worker is ready
_CRASH_SIGNALS = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}


class WorkerError(RuntimeError):
    """Raised when worker processes cannot be started."""


@dataclass(frozen=True)
class WorkerFailure:
    """Result of an item whose worker failed.

    Attributes:
        reason: What happened to the worker.
    """

    reason: str


@dataclass
class _Task:
    index: int
    item: Any
    num_retries: int = 0


@dataclass
class _Worker:
    process: Any
    pipe: Any  # multiprocessing's Connection, whose stub differs from what Pipe() returns
    task: _Task | None = None
    deadline: float = 0.0
    is_used: bool = False


class SandboxedPool:
    """Maps a function over items in limited worker processes.

    Example:
        >>> with SandboxedPool(func, 2, timeout=60, memory_bytes=2 << 30) as pool:
        ...     for result in pool.map(items):
        ...         ...
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
        """Prepare the pool; the `with` block starts the workers.

        Args:
            func: A picklable function of one item, called in a worker.
            num_workers: Number of processes, at least 1.
            timeout: Limit per item in seconds, of wall-clock time and of CPU time.
            memory_bytes: Address space that a worker may take beyond its initial size. Allocations beyond it raise
                MemoryError, or the library's equivalent.
            prefetch: Maximum number of items processed beyond the next one to be returned; it bounds memory.
            preload: Modules imported once for all workers.
        """
        self._func, self._num_workers, self._timeout = func, max(1, num_workers), timeout
        self._memory_bytes, self._prefetch = memory_bytes, max(prefetch, 2 * num_workers)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._workers: list[_Worker] = []

    def __enter__(self) -> SandboxedPool:
        self._workers = [self._start() for _ in range(self._num_workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._stop(worker)
        self._workers = []

    def map(self, items: Iterable) -> Iterator:
        """Apply the function to all items.

        An item is retried once, in a new worker, if its worker dies, because the cause may lie outside: in the system,
        or in an earlier item that damaged the worker's memory.

        Args:
            items: Picklable items; consumed lazily.

        Yields:
            Results in the order of `items`; a WorkerFailure for an item that exceeds its time or kills two workers.

        Raises:
            WorkerError: Workers cannot be started.
        """
        todo = enumerate(items)
        retries: deque[_Task] = deque()
        ready: dict[int, Any] = {}
        next_index, is_exhausted = 0, False
        while True:
            for slot, worker in enumerate(self._workers):
                if worker.task is not None:
                    continue
                task = retries.popleft() if retries else None
                if task is None and not is_exhausted and next_index + self._prefetch > self._end(ready, next_index):
                    numbered_item = next(todo, None)
                    is_exhausted = numbered_item is None
                    task = None if numbered_item is None else _Task(*numbered_item)
                if task is not None:
                    self._submit(slot, task)
            busy = {worker.pipe: slot for slot, worker in enumerate(self._workers) if worker.task is not None}
            if not busy:
                break
            first_deadline = min(self._workers[slot].deadline for slot in busy.values())
            for pipe in connection.wait(list(busy), max(0.0, first_deadline - time.monotonic())):
                slot = busy[pipe]
                self._receive(slot, ready, retries)
            now = time.monotonic()
            for slot, worker in enumerate(self._workers):
                if worker.task is not None and worker.deadline <= now and not worker.pipe.poll():
                    ready[worker.task.index] = WorkerFailure(f"not finished after {self._timeout:g} s")
                    self._replace(slot)
            while next_index in ready:
                yield ready.pop(next_index)
                next_index += 1

    def _receive(self, slot: int, ready: dict[int, Any], retries: deque[_Task]) -> None:
        """Store the result of a worker; if it died, replace it, and retry its item or store a failure."""
        worker = self._workers[slot]
        task = worker.task
        assert task is not None
        try:
            ready[task.index] = worker.pipe.recv()
            worker.task = None
        except (EOFError, OSError):
            worker.process.join(1)
            exit_code = worker.process.exitcode
            self._replace(slot)
            if exit_code == -signal.SIGXCPU:
                ready[task.index] = WorkerFailure(f"not finished after {self._timeout:g} s")
            elif task.num_retries:
                ready[task.index] = WorkerFailure(f"the worker died ({_describe_exit(exit_code)})")
            else:
                retries.append(_Task(task.index, task.item, task.num_retries + 1))

    def _end(self, results: dict[int, Any], next_index: int) -> int:
        """Return the index after the last item that is finished or in progress."""
        in_progress = [worker.task.index for worker in self._workers if worker.task is not None]
        return max([*results, *in_progress, next_index - 1]) + 1

    def _submit(self, slot: int, task: _Task) -> None:
        if task.num_retries and self._workers[slot].is_used:
            self._replace(slot)
        for _ in range(3):
            worker = self._workers[slot]
            worker.is_used = True
            try:
                worker.pipe.send(task.item)
            except OSError:  # the worker died while idle
                self._replace(slot)
                continue
            worker.task, worker.deadline = task, time.monotonic() + self._timeout
            return
        raise WorkerError("worker processes die as soon as they receive an item")

    def _start(self) -> _Worker:
        parent_pipe, worker_pipe = self._context.Pipe()
        arguments = (worker_pipe, self._func, self._timeout, self._memory_bytes)
        process = self._context.Process(target=_worker_loop, args=arguments, daemon=True)
        process.start()
        worker_pipe.close()
        worker = _Worker(process, parent_pipe)
        try:
            if parent_pipe.poll(START_TIMEOUT) and parent_pipe.recv() == "ready":
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
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _describe_exit(exit_code: int | None) -> str:
    """Describe how a worker died; which signal a damaged memory ends in is a matter of chance."""
    if exit_code is not None and exit_code < 0:
        if -exit_code in _CRASH_SIGNALS:
            return "crash"
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
    """Limit the address space to `memory_bytes` beyond its current size, and disable core files."""
    with contextlib.suppress(OSError, ValueError):  # unsupported on this system: the deadline still applies
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/statm") as file:
            current = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (current + memory_bytes, resource.RLIM_INFINITY))


def _limit_cpu_time(seconds: float) -> None:
    """Limit this process to `seconds` more CPU time, rounded up; SIGXCPU then ends it."""
    with contextlib.suppress(OSError, ValueError):
        hard_limit = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard_limit))
