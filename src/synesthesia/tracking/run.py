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

PATIENCE = 15  # seconds that a failing stage waits for its run to be closed


def _switched_off() -> bool:
    return distributed.rank() > 0 or os.environ.get("SYNESTHESIA_TRACKING", "").lower() in ("off", "0", "false", "no")


class Session:
    """One run of one stage item, written by a child process.

    The child imports MLflow while the stage does its work, lives in its own process group, and closes the run as
    FAILED by itself when the stage dies.
    """

    def __init__(self, stage: str, item: str | None = None) -> None:
        self.stage, self.item = stage, item
        self._child: subprocess.Popen | None = None
        self._finished = False
        self._errors = None

    def __enter__(self) -> Session:
        if _switched_off():
            return self
        self._errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "synesthesia.tracking.worker", str(os.getpid()), self.stage, self.item or ""]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.write(f"cannot start the tracking process: {error}".encode())
        return self

    def metric(self, name: str, value: float, step: int) -> None:
        """Stream one value; never waits for MLflow and never fails."""
        self._send({"metric": [name, int(step), float(value)]})

    def finish(self, record: Record) -> None:
        """Hand over the record and wait until it is in MLflow; raise TrackingError when that failed."""
        self._finished = True
        if _switched_off():
            return
        self._send({"finish": json.loads(record.to_json())})
        answer = self._end(None)
        if answer.get("error") is not None:
            raise TrackingError(answer["error"])

    def __exit__(self, kind, error, _) -> bool:
        if isinstance(error, TrackingError):
            self._end(PATIENCE)
            name = self.stage + (f"@{self.item}" if self.item else "")
            print(
                f"warning: {name} is not in MLflow ({error}). Its results are safe on disk: run `make log` later.",
                file=sys.stderr,
            )
            return True
        if not self._finished:
            why = f"{kind.__name__}: {error}" if kind else "the stage ended without handing over a record"
            self._send({"fail": why})
            self._end(0 if kind is KeyboardInterrupt else PATIENCE)
        elif self._errors:
            self._errors.close()
        return False

    def _send(self, message: dict) -> None:
        if self._child is None or self._child.stdin.closed:
            return
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:  # the child has ended; `finish` says why
            return

    def _end(self, seconds: float | None) -> dict:
        if self._child is None:
            return {"error": self._said()}
        child = self._child
        try:
            out = b"" if child.stdout.closed else child.communicate(timeout=seconds)[0]  # closes its input
        except subprocess.TimeoutExpired:
            return {"error": "MLflow does not answer"}
        try:
            return json.loads(out.splitlines()[-1])
        except (IndexError, ValueError):
            return {"error": self._said() or f"the tracking process ended with code {child.returncode}"}

    def _said(self) -> str:
        if self._errors is None or self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def session(stage: str, item: str | None = None) -> Session:
    """Begin to track a stage item: `with tracking.session("distill", setting) as session: ...`."""
    return Session(stage, item)


def log(record: Record) -> None:
    """Enter a record; when MLflow cannot take it, warn and go on (the outs are on disk)."""
    with session(record.stage, record.item) as current:
        current.finish(record)


def log_all(records: Iterable[Record], said: Callable[[Record, bool], None] = lambda record, new: None) -> int:
    """Enter records in this process, those not yet in MLflow; return how many were new. Raises TrackingError."""
    from synesthesia.tracking.mlflow_writer import Ledger

    try:
        ledger, new = Ledger(), 0
        for record in records:
            added = ledger.finish(None, record, settled=True)
            said(record, added)
            new += added
    except TrackingError:
        raise
    except Exception as error:
        raise TrackingError(f"{type(error).__name__}: {error}") from error
    return new


def fetch(name: str, alias: str = "best") -> Path:
    """The folder of a registered model by alias (or version number), downloaded once; see `registry.fetch`."""
    from synesthesia.tracking import registry

    return registry.fetch(name, alias)
