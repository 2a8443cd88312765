"""Where MLflow lives, and how several processes share it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

TRACKING_DIR = Path("mlruns")
DATABASE_PATH = TRACKING_DIR / "mlflow.db"
ARTIFACTS_DIR = TRACKING_DIR / "artifacts"

ENV_DEFAULTS = {  # MLflow reports its use over the network unless told not to; a dead server must not hold a stage for minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
for _name, _value in ENV_DEFAULTS.items():  # some are read when MLflow is imported
    os.environ.setdefault(_name, _value)


class TrackingError(RuntimeError):
    """MLflow could not take or give something; the message says what and, where known, what to do."""


def tracking_uri() -> str:
    """The tracking server's address, or the local database's."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE_PATH.absolute()}"


def is_local() -> bool:
    """Whether runs go to the project's own database."""
    return not os.environ.get("MLFLOW_TRACKING_URI")


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One process of this machine at a time; freed by the kernel when its holder dies."""
    try:
        TRACKING_DIR.mkdir(parents=True, exist_ok=True)
        handle = os.open(TRACKING_DIR / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise TrackingError(f"cannot write to {TRACKING_DIR.absolute()}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def get_client():
    """An MlflowClient; makes the local database first where there is none (once, whoever comes first)."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if not is_local():
        return MlflowClient(tracking_uri(), tracking_uri())
    with lock():
        new = not DATABASE_PATH.exists()
        made = MlflowClient(tracking_uri(), tracking_uri())
        made.search_experiments(max_results=1)  # opens the database: creates or migrates its tables
        if new:
            with contextlib.closing(sqlite3.connect(DATABASE_PATH)) as database:
                database.execute("PRAGMA journal_mode=WAL")  # readers and a writer do not wait for each other
    return made


def get_experiment_id(client, name: str) -> str:
    """The id of the experiment `name`, made where there is none."""
    with lock():
        found = client.get_experiment_by_name(name)
        if found is None:
            where = ARTIFACTS_DIR.absolute().as_uri() if is_local() else None
            return client.create_experiment(name, artifact_location=where)
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
