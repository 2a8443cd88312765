"""A stage's interface to tracking. MLflow is imported at the end of a stage, or at the first flush of live metrics."""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from synesthesia.tracking.journal import Journal, LivePoint, PendingRun, timestamp
from synesthesia.tracking.mlflow_client import TrackingError
from synesthesia.tracking.provenance import Snapshot
from synesthesia.tracking.record import Record
from synesthesia.utils import distributed

if TYPE_CHECKING:
    from synesthesia.tracking.mlflow_writer import RunWriter

FLUSH_SECONDS = 60.0  # between writes of live metrics; shorter stages write everything at their end


def _is_disabled() -> bool:
    return distributed.rank() > 0 or os.environ.get("SYNESTHESIA_TRACKING", "").lower() in ("off", "0", "false", "no")


class Run:
    """A context manager that tracks one stage item.

    If the stage fails or dies, its run is entered in MLflow as FAILED: at once if MLflow has the run, else from its
    journal by whoever connects to MLflow next.

    Args:
        stage: Name of the DVC stage.
        item: Its item, or None.
    """

    def __init__(self, stage: str, item: str | None = None) -> None:
        self.stage, self.item = stage, item
        self._run: PendingRun | None = None
        self._journal: Journal | None = None
        self._writer: RunWriter | None = None
        self._steps: set[tuple[str, int]] = set()
        self._flush_seconds = FLUSH_SECONDS
        self._last_flush = time.monotonic()
        self._has_record = False

    def __enter__(self) -> Run:
        """Start the run; nothing of it is in MLflow yet."""
        if not _is_disabled():
            self._run = PendingRun(self.stage, self.item, Snapshot.take())
            self._journal = Journal(self._run)
        return self

    def log_metric(self, name: str, value: float, step: int) -> None:
        """Log a live value of a metric. Never fails; writes to MLflow once a minute.

        Args:
            name: The metric.
            value: Its value.
            step: Step or epoch; only the first value per step counts.
        """
        if self._run is None or self._journal is None or (name, step) in self._steps:
            return
        point = LivePoint(name, int(step), float(value), timestamp())
        self._steps.add((name, step))
        self._run.points.append(point)
        self._journal.write_point(point)
        if time.monotonic() - self._last_flush >= self._flush_seconds:
            self._flush(self._run, self._journal)

    def finish(self, record: Record | None) -> None:
        """Write the record into MLflow.

        Args:
            record: What the stage's `build_record` returns.

        Raises:
            TrackingError: MLflow cannot store it. `with` turns this into a warning.
        """
        if self._run is None or self._journal is None:
            return
        if record is None:
            raise TrackingError("its outputs are incomplete")
        self._has_record = True
        try:
            writer = self._connect(self._run)
        except Exception as error:
            self._journal.close(delete=self._run.run_id is None)  # the stage has not failed; `make log` enters it
            raise TrackingError(_describe(error)) from error
        try:
            writer.finish(self._run, record)
        except Exception as error:
            self._fail(_describe(error))
            raise TrackingError(_describe(error)) from error
        self._journal.close(delete=True)
        gc.freeze()  # else Python searches everything that MLflow imported for cycles at exit, which takes a second

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Close a run without a record as failed; turn a TrackingError into a warning."""
        if not self._has_record:
            failure = f"{exc_type.__name__}: {exc}" if exc_type else "the stage ended without a record"
            self._fail(failure, can_wait=exc_type is not KeyboardInterrupt)
        if not isinstance(exc, TrackingError):
            return False
        name = self.stage + (f"@{self.item}" if self.item else "")
        print(
            f"warning: {name} is not in MLflow ({exc}). Its results are safe on disk: run `make log` later.",
            file=sys.stderr,
        )
        return True

    def _connect(self, run: PendingRun) -> RunWriter:
        if self._writer is None:
            from synesthesia.tracking.mlflow_writer import RunWriter

            self._writer = RunWriter(run.snapshot)
            self._writer.recover()
        return self._writer

    def _flush(self, run: PendingRun, journal: Journal) -> None:
        """Write live metrics; after an error wait for the end, so that a dead server does not slow down the stage."""
        try:
            writer = self._connect(run)
            writer.open(run)
            journal.write_state(run)
            writer.log_live_points(run)
            journal.write_state(run)
        except Exception:
            self._flush_seconds = math.inf
        self._last_flush = time.monotonic()

    def _fail(self, failure: str, can_wait: bool = True) -> None:
        """Close the run as failed: now if MLflow is connected, else by its journal."""
        if self._run is None or self._journal is None:
            return
        self._journal.write_failure(failure)
        is_marked = False
        if self._writer is not None and can_wait:
            try:
                self._writer.mark_failed(self._run, failure)
                is_marked = True
            except Exception:  # the journal stays
                self._journal.write_state(self._run)
        self._journal.close(delete=is_marked)


def _describe(error: Exception) -> str:
    if isinstance(error, TrackingError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def start_run(stage: str, item: str | None = None) -> Run:
    """Start to track a stage item: `with tracking.start_run("distill", setting) as run: ...`.

    Args:
        stage: Name of the DVC stage.
        item: Its item, or None.

    Returns:
        The run, a context manager.
    """
    return Run(stage, item)


def log_record(record: Record) -> None:
    """Log a record; if MLflow cannot store it, print a warning and go on, since the outputs are on disk.

    Args:
        record: The record.
    """
    with start_run(record.stage, record.item) as run:
        run.finish(record)


def log_records(
    records: Iterable[Record], on_logged: Callable[[Record, bool], None] = lambda record, is_new: None
) -> int:
    """Log those records that MLflow does not have yet, and the runs of stages that died.

    Args:
        records: The records, of stages that DVC has ended.
        on_logged: Called with each record and whether it was new.

    Returns:
        How many were new.

    Raises:
        TrackingError: MLflow cannot store them.
    """
    from synesthesia.tracking.mlflow_writer import RunWriter

    try:
        writer, num_new = RunWriter(Snapshot.take()), 0
        writer.recover()
        for record in records:
            run = PendingRun(record.stage, record.item, writer.snapshot)
            is_new = writer.finish(run, record, finalized=True)
            on_logged(record, is_new)
            num_new += is_new
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(_describe(error)) from error
    return num_new


def fetch_model(name: str, alias: str = "best") -> Path:
    """Download a registered model once, see `registry.fetch_model`.

    Args:
        name: Name of the registered model.
        alias: `best`, `upper-bound`, or the number of a version.

    Returns:
        The model's folder.

    Raises:
        TrackingError: There is no such model.
    """
    from synesthesia.tracking import registry

    return registry.fetch_model(name, alias)
