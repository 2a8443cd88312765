"""A stage's side of tracking: starts the sidecar, streams to it, hands over the record. Imports no MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from synesthesia.tracking.mlflow_client import TrackingError
from synesthesia.tracking.record import Record
from synesthesia.utils import distributed

SHUTDOWN_TIMEOUT = 15  # seconds that a failing stage waits for its run to be closed


def _is_disabled() -> bool:
    return distributed.rank() > 0 or os.environ.get("SYNESTHESIA_TRACKING", "").lower() in ("off", "0", "false", "no")


class Run:
    """One run of one stage item, written by a child process.

    The child imports MLflow while the stage does its work, lives in its own process group, and closes the run as
    FAILED by itself when the stage dies.
    """

    def __init__(self, stage: str, item: str | None = None) -> None:
        self.stage, self.item = stage, item
        self._child: subprocess.Popen | None = None
        self._finished = False
        self._stderr_file = None

    def __enter__(self) -> Run:
        if _is_disabled():
            return self
        self._stderr_file = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "synesthesia.tracking.worker", str(os.getpid()), self.stage, self.item or ""]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr_file,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr_file.write(f"cannot start the tracking process: {error}".encode())
        return self

    def log_metric(self, name: str, value: float, step: int) -> None:
        """Stream one value; never waits for MLflow and never fails."""
        self._send({"metric": [name, int(step), float(value)]})

    def finish(self, record: Record) -> None:
        """Hand over the record and wait until it is in MLflow; raise TrackingError when that failed."""
        self._finished = True
        if _is_disabled():
            return
        self._send({"finish": json.loads(record.to_json())})
        answer = self._close(None)
        if answer.get("error") is not None:
            raise TrackingError(answer["error"])

    def __exit__(self, exc_type, exc, _) -> bool:
        if isinstance(exc, TrackingError):
            self._close(SHUTDOWN_TIMEOUT)
            name = self.stage + (f"@{self.item}" if self.item else "")
            print(
                f"warning: {name} is not in MLflow ({exc}). Its results are safe on disk: run `make log` later.",
                file=sys.stderr,
            )
            return True
        if not self._finished:
            why = f"{exc_type.__name__}: {exc}" if exc_type else "the stage ended without handing over a record"
            self._send({"fail": why})
            self._close(0 if exc_type is KeyboardInterrupt else SHUTDOWN_TIMEOUT)
        elif self._stderr_file:
            self._stderr_file.close()
        return False

    def _send(self, message: dict) -> None:
        if self._child is None or self._child.stdin.closed:
            return
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:  # the child has ended; `finish` says why
            return

    def _close(self, timeout: float | None) -> dict:
        if self._child is None:
            return {"error": self._said()}
        child = self._child
        try:
            out = b"" if child.stdout.closed else child.communicate(timeout=timeout)[0]  # closes its input
        except subprocess.TimeoutExpired:
            return {"error": "MLflow does not answer"}
        try:
            return json.loads(out.splitlines()[-1])
        except (IndexError, ValueError):
            return {"error": self._said() or f"the tracking process ended with code {child.returncode}"}

    def _said(self) -> str:
        if self._stderr_file is None or self._stderr_file.closed:
            return ""
        self._stderr_file.seek(0)
        lines = self._stderr_file.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def start_run(stage: str, item: str | None = None) -> Run:
    """Begin to track a stage item: `with tracking.session("distill", setting) as session: ...`."""
    return Run(stage, item)


def log_record(record: Record) -> None:
    """Enter a record; when MLflow cannot take it, warn and go on (the outs are on disk)."""
    with start_run(record.stage, record.item) as current:
        current.finish(record)


def log_records(records: Iterable[Record], on_logged: Callable[[Record, bool], None] = lambda record, new: None) -> int:
    """Enter records in this process, those not yet in MLflow; return how many were new. Raises TrackingError."""
    from synesthesia.tracking.mlflow_writer import RunWriter

    try:
        ledger, new = RunWriter(), 0
        for record in records:
            added = ledger.finish(None, record, finalized=True)
            on_logged(record, added)
            new += added
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(f"{type(error).__name__}: {error}") from error
    return new


def fetch_model(name: str, alias: str = "best") -> Path:
    """The folder of a registered model by alias (or version number), downloaded once; see `registry.fetch`."""
    from synesthesia.tracking import registry

    return registry.fetch_model(name, alias)
