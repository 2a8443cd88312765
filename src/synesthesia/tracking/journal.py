"""Journals of unfinished runs: what a stage has logged so far, in a file that outlives the stage.

MLflow takes seconds to import, so a stage connects to it at its end, or once there are live metrics to write. Until
then its run is a file under `mlruns/pending`. A stage locks its journal; the kernel releases the lock when the stage
dies. Whoever connects to MLflow next enters journals without an owner as FAILED runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from synesthesia.tracking import mlflow_client
from synesthesia.tracking.names import file_name
from synesthesia.tracking.provenance import Snapshot
from synesthesia.utils.io import FileLock, Timeout

KILLED = "the stage was killed"


def timestamp() -> int:
    """Return milliseconds since the epoch, MLflow's unit of time."""
    return time.time_ns() // 1_000_000


class LivePoint(NamedTuple):
    """A value of a metric.

    Attributes:
        name: The metric.
        step: Step or epoch.
        value: The value.
        timestamp: Milliseconds since the epoch.
    """

    name: str
    step: int
    value: float
    timestamp: int


@dataclass
class PendingRun:
    """A run that is not finished.

    Attributes:
        stage: Name of the DVC stage.
        item: Its item, or None.
        snapshot: Code and parameters at the start.
        start_time: Milliseconds since the epoch.
        run_id: Id in MLflow once it is there.
        points: Live metrics.
        num_logged: Number of `points` that MLflow has.
        failure: Why the stage failed.
    """

    stage: str
    item: str | None
    snapshot: Snapshot
    start_time: int = field(default_factory=timestamp)
    run_id: str | None = None
    points: list[LivePoint] = field(default_factory=list)
    num_logged: int = 0
    failure: str = KILLED

    @property
    def name(self) -> str:
        """`stage` or `stage@item`, as in DVC."""
        return self.stage + (f"@{self.item}" if self.item else "")


class Journal:
    """The journal of a run, locked by this process; a journal that cannot be written costs nothing but itself."""

    def __init__(self, run: PendingRun) -> None:
        """Create the file.

        Args:
            run: A run that has just started.
        """
        owner = f"{socket.gethostname()}-{os.getpid()}-{run.start_time}"
        self.path = _pending_dir() / f"{file_name(run.name)}-{owner}.jsonl"
        self._lock = FileLock(self.path.with_suffix(".lock"))
        self._file = None
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
            self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115  # open until the run ends
        header = {"stage": run.stage, "item": run.item, "start_time": run.start_time}
        self._append({"start": header | {"preset": run.snapshot.preset, "tags": run.snapshot.tags}})

    def write_point(self, point: LivePoint) -> None:
        """Append a value of a metric.

        Args:
            point: The value.
        """
        self._append({"point": point})

    def write_state(self, run: PendingRun) -> None:
        """Append what MLflow has of the run.

        Args:
            run: The run.
        """
        self._append({"run_id": run.run_id, "num_logged": run.num_logged})

    def write_failure(self, failure: str) -> None:
        """Append why the stage failed.

        Args:
            failure: The reason.
        """
        self._append({"failure": failure})

    def _append(self, entry: dict) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(json.dumps(entry) + "\n")
                self._file.flush()

    def close(self, *, delete: bool) -> None:
        """Release the lock.

        Args:
            delete: Delete the file, because the run needs no recovery.
        """
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
                self._file = None
            if delete:
                _delete(self.path)
        self._lock.release()


def list_journals() -> list[Path]:
    """List the journals of all unfinished runs, alive or dead.

    Returns:
        Paths, by stage.
    """
    return sorted(_pending_dir().glob("*.jsonl"))


@contextlib.contextmanager
def claim(path: Path) -> Iterator[PendingRun | None]:
    """Take over the journal of a dead stage; delete it afterwards unless the caller raises an error.

    Args:
        path: The journal.

    Yields:
        The run, or None if its stage is alive or the journal has no readable start.
    """
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except (OSError, Timeout):
        yield None
        return
    try:
        yield _read(path)
        _delete(path)
    finally:
        lock.release()


def _read(path: Path) -> PendingRun | None:
    run = None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the stage died in the middle of a line
            continue
        if "start" in entry:
            start = entry["start"]
            snapshot = Snapshot(start["preset"], start["tags"])
            run = PendingRun(start["stage"], start["item"], snapshot, start["start_time"])
        elif run is None:
            return None
        elif "point" in entry:
            run.points.append(LivePoint(*entry["point"]))
        elif "failure" in entry:
            run.failure = entry["failure"]
        else:
            run.run_id, run.num_logged = entry["run_id"], entry["num_logged"]
    return run


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".lock").unlink(missing_ok=True)


def _pending_dir() -> Path:
    return mlflow_client.TRACKING_DIR.absolute() / "pending"
