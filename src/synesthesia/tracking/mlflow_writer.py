"""Writes records into MLflow: the only file, with `registry.py` and `place.py`, that speaks to it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from synesthesia.tracking import mlflow_client, provenance, registry
from synesthesia.tracking.record import Point, Record, plain

BATCH = 1000  # metrics a request, MLflow's limit
TAGS = 100


class Ledger:
    """One open connection; several runs may be begun and finished with it."""

    def __init__(self) -> None:
        self.client = mlflow_client.client()
        self.size = provenance.size()
        self.experiment = mlflow_client.experiment(self.client, f"synesthesia-{self.size}")
        self.tags, self.patch = provenance.code()
        self.tags |= provenance.parameters()

    def begin(self, stage: str, item: str | None) -> str:
        """Open a run and return its id."""
        name = stage + (f"@{item}" if item else "")
        tags = self.tags | {
            "stage": stage,
            "item": item or "",
            "mlflow.source.name": f"synesthesia.pipeline.{stage}",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": os.environ.get("USER", ""),
            "mlflow.note.content": provenance.RECIPE.format(commit=self.tags["git.commit"]),
        }
        return self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id

    def points(self, run: str, points: Iterable[Point]) -> None:
        """Metrics over time, in MLflow's largest batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(plain(name), value, now, step) for name, step, value in points]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run, metrics=metrics[start : start + BATCH])

    def finish(self, run: str | None, record: Record, seen: set[tuple[str, int]] = frozenset(), settled=False) -> bool:
        """Complete `run` (or a new one) with the record; False when an equal record was there: then no run is added.

        `seen` are the points that the run has already; `settled`: DVC has ended the stage and written its lock.
        """
        fingerprint = record.fingerprint()
        with mlflow_client.lock():
            twin = self._twin(record, fingerprint)
            if twin and run:
                self.client.delete_run(run)
            started = run if run and not twin else None
            run = twin or run or self.begin(record.stage, record.item)
            try:
                if not twin:
                    started = run
                    self._write(run, record, seen)
                self._data(run, record, settled)
                registry.enter(self.client, record, run, self.size)
            except BaseException:
                if started:
                    self.fail(started, "the record could not be written whole")
                raise
            if not twin:
                self._tag(run, {"fingerprint": fingerprint})
                self.client.set_terminated(run, "FINISHED")
        return not twin

    def _data(self, run: str, record: Record, settled: bool) -> None:
        """Data versions as tags, and DVC's lock; once settled, it names this run's own outs too."""
        tags = provenance.data(record.name, record.inputs, settled)
        if self.client.get_run(run).data.tags.items() >= {plain(k): v for k, v in tags.items()}.items():
            return
        self._tag(run, tags)
        if Path("dvc.lock").exists():
            self.client.log_artifact(run, "dvc.lock", "provenance")

    def fail(self, run: str, why: str) -> None:
        """Close a run as FAILED, with the reason as a tag."""
        with contextlib.suppress(Exception):
            self.client.set_tag(run, "failure", why[:4000])
        self.client.set_terminated(run, "FAILED")

    def _twin(self, record: Record, fingerprint: str) -> str | None:
        found = self.client.search_runs(
            [self.experiment],
            f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _tag(self, run: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(plain(key), value) for key, value in tags.items()]
        for start in range(0, len(entities), TAGS):
            self.client.log_batch(run, tags=entities[start : start + TAGS])

    def _write(self, run: str, record: Record, seen: set[tuple[str, int]]) -> None:
        from mlflow.entities import Param

        params = [Param(plain(key), str(value)) for key, value in record.parameters.items()]
        for start in range(0, len(params), TAGS):
            self.client.log_batch(run, params=params[start : start + TAGS])
        history = record.points()
        last = {name: step for name, step, _ in sorted(history, key=lambda point: point[1])}
        self.points(run, [point for point in history if point[:2] not in seen])
        self.points(run, [(name, last.get(name, 0), value) for name, value in record.metrics.items()])
        for path in record.uploads():
            self._upload(run, path, record.place_of(path))
        with tempfile.TemporaryDirectory() as folder:
            if self.patch:
                Path(folder, "uncommitted.patch").write_text(self.patch, "utf-8", "surrogateescape")
            if Path("params.yaml").exists():
                Path(folder, "params.yaml").write_bytes(Path("params.yaml").read_bytes())
            if any(Path(folder).iterdir()):
                self.client.log_artifacts(run, folder, "provenance")

    def _upload(self, run: str, path: str, where: str) -> None:
        if Path(path).is_dir():
            self.client.log_artifacts(run, path, where)
        else:
            self.client.log_artifact(run, path, str(Path(where).parent) if "/" in where else None)
