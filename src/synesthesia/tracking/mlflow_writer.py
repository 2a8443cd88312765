"""Writes records into MLflow: the only file, with `registry.py` and `place.py`, that speaks to it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from synesthesia.tracking import mlflow_client, provenance, registry
from synesthesia.tracking.record import MetricPoint, Record, sanitize_name

METRICS_PER_REQUEST = 1000  # metrics a request, MLflow's limit
TAGS_PER_REQUEST = 100


class RunWriter:
    """One open connection; several runs may be begun and finished with it."""

    def __init__(self) -> None:
        self.client = mlflow_client.get_client()
        self.preset = provenance.current_preset()
        self.experiment_id = mlflow_client.get_experiment_id(self.client, f"synesthesia-{self.preset}")
        self.tags, self.patch = provenance.code_tags_and_patch()
        self.tags |= provenance.params_tags()

    def start_run(self, stage: str, item: str | None) -> str:
        """Open a run and return its id."""
        name = stage + (f"@{item}" if item else "")
        tags = self.tags | {
            "stage": stage,
            "item": item or "",
            "mlflow.source.name": f"synesthesia.pipeline.{stage}",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": os.environ.get("USER", ""),
            "mlflow.note.content": provenance.RESTORE_INSTRUCTIONS.format(commit=self.tags["git.commit"]),
        }
        return self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id

    def log_metrics(self, run_id: str, points: Iterable[MetricPoint]) -> None:
        """Metrics over time, in MLflow's largest batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(sanitize_name(name), value, now, step) for name, step, value in points]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])

    def finish(
        self, run_id: str | None, record: Record, logged_points: set[tuple[str, int]] = frozenset(), finalized=False
    ) -> bool:
        """Complete `run` (or a new one) with the record; False when an equal record was there: then no run is added.

        `seen` are the points that the run has already; `settled`: DVC has ended the stage and written its lock.
        """
        fingerprint = record.fingerprint()
        with mlflow_client.lock():
            twin = self._twin(record, fingerprint)
            if twin and run_id:
                self.client.delete_run(run_id)
            started = run_id if run_id and not twin else None
            run_id = twin or run_id or self.start_run(record.stage, record.item)
            try:
                if not twin:
                    started = run_id
                    self._log_record(run_id, record, logged_points)
                self._data(run_id, record, finalized)
                registry.register_model(self.client, record, run_id, self.preset)
            except BaseException:
                if started:
                    self.mark_failed(started, "the record could not be written whole")
                raise
            if not twin:
                self._tag(run_id, {"fingerprint": fingerprint})
                self.client.set_terminated(run_id, "FINISHED")
        return not twin

    def _data(self, run_id: str, record: Record, finalized: bool) -> None:
        """Data versions as tags, and DVC's lock; once settled, it names this run's own outs too."""
        tags = provenance.data_tags(record.name, record.inputs, finalized)
        if self.client.get_run(run_id).data.tags.items() >= {sanitize_name(k): v for k, v in tags.items()}.items():
            return
        self._tag(run_id, tags)
        if Path("dvc.lock").exists():
            self.client.log_artifact(run_id, "dvc.lock", "provenance")

    def mark_failed(self, run_id: str, reason: str) -> None:
        """Close a run as FAILED, with the reason as a tag."""
        with contextlib.suppress(Exception):
            self.client.set_tag(run_id, "failure", reason[:4000])
        self.client.set_terminated(run_id, "FAILED")

    def _twin(self, record: Record, fingerprint: str) -> str | None:
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def _tag(self, run_id: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(sanitize_name(key), value) for key, value in tags.items()]
        for start in range(0, len(entities), TAGS_PER_REQUEST):
            self.client.log_batch(run_id, tags=entities[start : start + TAGS_PER_REQUEST])

    def _log_record(self, run_id: str, record: Record, logged_points: set[tuple[str, int]]) -> None:
        from mlflow.entities import Param

        params = [Param(sanitize_name(key), str(value)) for key, value in record.parameters.items()]
        for start in range(0, len(params), TAGS_PER_REQUEST):
            self.client.log_batch(run_id, params=params[start : start + TAGS_PER_REQUEST])
        history = record.read_history()
        last = {name: step for name, step, _ in sorted(history, key=lambda point: point[1])}
        self.log_metrics(run_id, [point for point in history if point[:2] not in logged_points])
        self.log_metrics(run_id, [(name, last.get(name, 0), value) for name, value in record.metrics.items()])
        for path in record.list_uploads():
            self._upload(run_id, path, record.artifact_path(path))
        with tempfile.TemporaryDirectory() as folder:
            if self.patch:
                Path(folder, "uncommitted.patch").write_text(self.patch, "utf-8", "surrogateescape")
            if Path("params.yaml").exists():
                Path(folder, "params.yaml").write_bytes(Path("params.yaml").read_bytes())
            if any(Path(folder).iterdir()):
                self.client.log_artifacts(run_id, folder, "provenance")

    def _upload(self, run_id: str, path: str, artifact_path: str) -> None:
        if Path(path).is_dir():
            self.client.log_artifacts(run_id, path, artifact_path)
        else:
            self.client.log_artifact(run_id, path, str(Path(artifact_path).parent) if "/" in artifact_path else None)
