"""Location of the MLflow database, and access to it from several processes."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from synesthesia.utils.io import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_DIR = Path("mlruns")
DATABASE_PATH = TRACKING_DIR / "mlflow.db"
ARTIFACTS_DIR = TRACKING_DIR / "artifacts"

ENV_DEFAULTS = {  # no usage reports over the network; a dead server must not delay a stage by minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
for _name, _value in ENV_DEFAULTS.items():  # MLflow reads some of them at import
    os.environ.setdefault(_name, _value)


class TrackingError(RuntimeError):
    """MLflow cannot store or return something; the message says what and, if known, what to do."""


def tracking_uri() -> str:
    """Return the address of the tracking server, or of the local database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(DATABASE_PATH.absolute())


def _sqlite_uri(path: Path) -> str:
    """Return the URI of a database file; the project's folder may have any name."""
    if not set("?#%") & set(str(path)):
        return f"sqlite:///{path}"
    # with the driver's name, since MLflow creates the parent folder of sqlite:/// without decoding its name
    return f"sqlite+pysqlite:///{quote(str(path), safe=' +/')}"


def is_local() -> bool:
    """Return whether runs go to the project's own database."""
    return not os.environ.get("MLFLOW_TRACKING_URI")


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Hold the lock that admits one process of this machine at a time.

    Raises:
        TrackingError: `mlruns` cannot be written.
    """
    try:
        TRACKING_DIR.mkdir(parents=True, exist_ok=True)
        file_lock = FileLock(TRACKING_DIR.absolute() / ".lock")
        file_lock.acquire()
    except OSError as error:
        raise TrackingError(f"cannot write to {TRACKING_DIR.absolute()}: {error.strerror}") from None
    try:
        yield
    finally:
        file_lock.release()


def get_client() -> MlflowClient:
    """Connect to MLflow; create the local database first if there is none.

    Returns:
        The client.

    Raises:
        TrackingError: `mlruns` cannot be written.
    """
    gc.disable()  # saves a tenth of the three seconds that the import takes
    try:
        from mlflow import MlflowClient
    finally:
        gc.enable()
    for name in ("mlflow", "alembic"):  # the import sets the levels too
        logging.getLogger(name).setLevel(logging.ERROR)

    if not is_local():
        return MlflowClient(tracking_uri(), tracking_uri())
    with lock():
        is_new = not DATABASE_PATH.exists()
        client = MlflowClient(tracking_uri(), tracking_uri())
        client.search_experiments(max_results=1)  # opens the database: creates or migrates its tables
        if is_new:
            with contextlib.closing(sqlite3.connect(DATABASE_PATH)) as database:
                database.execute("PRAGMA journal_mode=WAL")  # readers and a writer do not block each other
    return client


def get_experiment_id(client: MlflowClient, name: str) -> str:
    """Look up an experiment; create or restore it if necessary.

    Args:
        client: The client.
        name: Name of the experiment.

    Returns:
        Its id.
    """
    with lock():
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            location = ARTIFACTS_DIR.absolute().as_uri() if is_local() else None
            return client.create_experiment(name, artifact_location=location)
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id
