"""A project folder with a SQLite database of MLflow; the empty database is created once and copied."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from synesthesia.tracking import mlflow_client
from synesthesia.utils.io import FileLock


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory, worker_id):
    """A migrated, empty database. Migration takes seconds, so the first of several pytest workers does it for all."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "mlflow"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            tmp_folder = tmp_path_factory.mktemp("mlflow")
            with contextlib.chdir(tmp_folder), pytest.MonkeyPatch.context() as patch:
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                mlflow_client.get_client()
            tmp_folder.rename(folder)
    return folder / mlflow_client.DATABASE_PATH


@pytest.fixture
def study(tmp_path, monkeypatch, empty_database):
    """Change to an empty study with tracking and its own MLflow; return helpers to inspect it."""
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


@pytest.fixture
def start(study):
    """Start a Python script as a stage: in the study's folder and in a process group of its own."""
    processes = []

    def start_script(script, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env={**os.environ, **environment},
        )
        processes.append(process)
        return process

    yield start_script
    for process in processes:
        process.kill()
        process.wait()
