"""Writes runs into MLflow; besides `registry` and `mlflow_client` the only module that calls it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synesthesia.tracking import journal, mlflow_client, provenance, registry
from synesthesia.tracking.journal import LivePoint, PendingRun
from synesthesia.tracking.names import sanitize_names, shorten_name
from synesthesia.tracking.provenance import Snapshot
from synesthesia.tracking.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS_PER_REQUEST = 1000  # MLflow's limit
ENTITIES_PER_REQUEST = 100  # MLflow's limit for tags and for parameters


class RunWriter:
    """A connection to MLflow, for one or several runs.

    Args:
        snapshot: Code and parameters of the runs.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.client = mlflow_client.get_client()
        self._experiment_ids: dict[str, str] = {}
        self._experiment_id(snapshot.preset)  # here, since it takes the lock that `finish` holds

    def open(self, run: PendingRun) -> str:
        """Create a run in MLflow unless it is there.

        Args:
            run: The run; gets the id.

        Returns:
            Its id.
        """
        if run.run_id is None:
            tags = run.snapshot.tags | {
                "stage": run.stage,
                "item": run.item or "",
                "mlflow.source.name": f"synesthesia.pipeline.{run.stage}",
                "mlflow.source.type": "LOCAL",
                "mlflow.user": os.environ.get("USER", ""),
                "mlflow.note.content": provenance.RESTORE_INSTRUCTIONS.format(
                    commit=run.snapshot.tags.get("git.commit", "none")
                ),
            }
            experiment_id = self._experiment_id(run.snapshot.preset)
            mlflow_run = self.client.create_run(experiment_id, run.start_time, tags, run_name=shorten_name(run.name))
            run.run_id = mlflow_run.info.run_id
        return run.run_id

    def log_live_points(self, run: PendingRun) -> None:
        """Write the live metrics that MLflow does not have yet.

        Args:
            run: The run.
        """
        points = run.points[run.num_logged :]
        self._log_metrics(self.open(run), points)
        run.num_logged += len(points)

    def finish(self, run: PendingRun, record: Record, *, finalized: bool = False) -> bool:
        """Complete a run with its record.

        Args:
            run: The run; if it is not in MLflow yet, it is created when needed.
            record: Its record.
            finalized: DVC has ended the stage and written its lock.

        Returns:
            False if MLflow has a run with an equal record: then `run` is dropped.

        Raises:
            Exception: MLflow or an artifact fails; then `run` is marked as failed if it is in MLflow.
        """
        fingerprint = record.fingerprint()
        with mlflow_client.lock():
            equal_run_id = self._find_equal_run(fingerprint)
            if equal_run_id and run.run_id:
                self.client.delete_run(run.run_id)
                run.run_id = None
            try:
                run_id = equal_run_id or self.open(run)
                if not equal_run_id:
                    self._log_record(run, record)
                self._log_data_versions(run_id, record, finalized)
                registry.register_model(self.client, record, run_id, self.snapshot.preset)
            except BaseException:
                if run.run_id:
                    self.mark_failed(run, "the record could not be written completely")
                raise
            if not equal_run_id:
                self._set_tags(run_id, {"fingerprint": fingerprint})
                self.client.set_terminated(run_id, "FINISHED")
        return not equal_run_id

    def mark_failed(self, run: PendingRun, failure: str, end_time: int | None = None) -> None:
        """Close a run as FAILED, with the reason as a tag.

        Args:
            run: The run; it is created if necessary.
            failure: The reason.
            end_time: Milliseconds since the epoch; now by default.
        """
        run_id = self.open(run)
        with contextlib.suppress(Exception):
            self.log_live_points(run)
        with contextlib.suppress(Exception):
            self.client.set_tag(run_id, "failure", failure[:4000])
        self.client.set_terminated(run_id, "FAILED", end_time)

    def recover(self) -> None:
        """Enter the runs of dead stages as FAILED; whatever fails here is tried again by the next writer."""
        for path in journal.list_journals():
            with contextlib.suppress(Exception), journal.claim(path) as run:
                if run is not None:
                    end_time = max([run.start_time, *(point.timestamp for point in run.points)])
                    self.mark_failed(run, run.failure, end_time)

    def _experiment_id(self, preset: str) -> str:
        if preset not in self._experiment_ids:
            name = shorten_name(f"synesthesia-{preset}")
            self._experiment_ids[preset] = mlflow_client.get_experiment_id(self.client, name)
        return self._experiment_ids[preset]

    def _find_equal_run(self, fingerprint: str) -> str | None:
        runs = self.client.search_runs(
            [self._experiment_id(self.snapshot.preset)],
            f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def _log_record(self, run: PendingRun, record: Record) -> None:
        from mlflow.entities import Param

        run_id = self.open(run)
        names = sanitize_names(record.parameters)
        params = [Param(names[key], str(value)) for key, value in record.parameters.items()]
        for start in range(0, len(params), ENTITIES_PER_REQUEST):
            self.client.log_batch(run_id, params=params[start : start + ENTITIES_PER_REQUEST])
        self.log_live_points(run)
        live_steps = {(point.name, point.step) for point in run.points}
        history = record.read_history()
        last_step = {name: step for name, step, _ in sorted(history, key=lambda point: point[1])}
        points = [point for point in history if point[:2] not in live_steps]
        points += [(name, last_step.get(name, 0), value) for name, value in record.metrics.items()]
        now = journal.timestamp()
        self._log_metrics(run_id, [LivePoint(*point, now) for point in points])
        artifact_paths = record.artifact_paths()
        for path in record.list_uploads():
            self._log_artifact(run_id, path, artifact_paths[path])
        with tempfile.TemporaryDirectory() as folder:
            if run.snapshot.patch:
                Path(folder, "uncommitted.patch").write_text(run.snapshot.patch, "utf-8", "surrogateescape")
            if Path("params.yaml").exists():
                Path(folder, "params.yaml").write_bytes(Path("params.yaml").read_bytes())
            if any(Path(folder).iterdir()):
                self.client.log_artifacts(run_id, folder, "provenance")

    def _log_metrics(self, run_id: str, points: Sequence[LivePoint]) -> None:
        from mlflow.entities import Metric

        names = sanitize_names(p.name for p in points)
        metrics = [Metric(names[p.name], p.value, p.timestamp, p.step) for p in points]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])

    def _log_data_versions(self, run_id: str, record: Record, finalized: bool) -> None:
        """Set data versions as tags, and upload DVC's lock; once finalized, it names this run's own outputs too."""
        tags = provenance.data_tags(record.name, [os.fspath(path) for path in record.inputs], finalized)
        names = sanitize_names(tags)
        sanitized_tags = {names[key]: value for key, value in tags.items()}
        if self.client.get_run(run_id).data.tags.items() >= sanitized_tags.items():
            return
        self._set_tags(run_id, tags)
        if Path("dvc.lock").exists():
            self.client.log_artifact(run_id, "dvc.lock", "provenance")

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        names = sanitize_names(tags)
        entities = [RunTag(names[key], value) for key, value in tags.items()]
        for start in range(0, len(entities), ENTITIES_PER_REQUEST):
            self.client.log_batch(run_id, tags=entities[start : start + ENTITIES_PER_REQUEST])

    def _log_artifact(self, run_id: str, path: str, artifact_path: str) -> None:
        if Path(path).is_dir():
            self.client.log_artifacts(run_id, path, artifact_path)
        else:
            self.client.log_artifact(run_id, path, str(Path(artifact_path).parent) if "/" in artifact_path else None)
