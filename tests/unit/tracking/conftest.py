"""A study's folder with a real SQLite MLflow in it; the empty database is made once and copied."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from synesthesia.tracking import mlflow_client
from synesthesia.utils import preload_server


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory, worker_id):
    """A migrated, empty database; migrating takes seconds, so the first of several pytest workers does it for all."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "mlflow"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = tmp_path_factory.mktemp("mlflow")
            with contextlib.chdir(made), pytest.MonkeyPatch.context() as patch:
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                mlflow_client.get_client()
            made.rename(folder)
    return folder / mlflow_client.DATABASE_PATH


@pytest.fixture
def study(tmp_path, monkeypatch, empty_database):
    """An empty study as the working folder, tracking on, its own MLflow; gives helpers to look into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SYNESTHESIA_TRACKING", raising=False)
    mlflow_client.TRACKING_DIR.mkdir()
    shutil.copy(empty_database, mlflow_client.DATABASE_PATH)
    Path("params.yaml").write_text("preset: embedded\n")

    def runs(stage=None):
        client = mlflow_client.get_client()
        experiments = [e.experiment_id for e in client.search_experiments()]
        return client.search_runs(experiments, f"tags.stage = '{stage}'" if stage else "")

    def write(path, content):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        return path

    return SimpleNamespace(runs=runs, write=write, client=mlflow_client.get_client, folder=tmp_path)


@pytest.fixture(scope="session")
def server():
    """The socket of a fork server, as stages under `make` have it: MLflow is imported once for all of its sidecars."""
    command = [
        sys.executable,
        "-m",
        "synesthesia.utils.preload_server",
        "sh",
        "-c",
        f"echo ${preload_server.VARIABLE}; read _",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.communicate()


@pytest.fixture
def served(server, monkeypatch):
    """Stages of the test, and sidecars of its own sessions, find that server."""
    monkeypatch.setenv(preload_server.VARIABLE, server)


@pytest.fixture
def start(study):
    """Start a Python script as a stage would be: in the study's folder and in a process group of its own; `before` is
    the beginning of the command.
    """
    children = []

    def _start(script, *before, **environment):
        child = subprocess.Popen(
            [*before, sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env={**os.environ, **environment},
        )
        children.append(child)
        return child

    yield _start
    for child in children:
        child.kill()
        child.wait()
