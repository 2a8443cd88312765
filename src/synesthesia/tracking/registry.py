"""Registered models: one version per content, and the aliases `best` and `upper-bound`.

Versions are compared by their tags alone: `analysis_accuracy` (never the test split's), `eligible`, `setting`,
`preset`, `folder_sha256`, and `registered_at`, when this content was last the setting's current one. A setting that was
distilled again with other parameters has several versions; only its newest one competes, and only within its preset,
since accuracies on other questions are not comparable.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from synesthesia.tracking.mlflow_client import TRACKING_DIR, TrackingError, get_client, tracking_uri
from synesthesia.tracking.names import file_name, registered_name
from synesthesia.tracking.record import Record
from synesthesia.utils import hashing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BEST, UPPER_BOUND = "best", "upper-bound"


def register_model(client: MlflowClient, record: Record, run_id: str, preset: str) -> None:
    """Register the record's model if its content is new, update its tags, and move the aliases.

    Args:
        client: The client.
        record: The record; without a model, nothing happens.
        run_id: Its run, which gets the model's files.
        preset: The preset in use.
    """
    model = record.model
    if model is None:
        return
    from mlflow.exceptions import MlflowException

    name, content = registered_name(model.name), hashing.hash_path(model.folder)
    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(name)
    version = next((v for v in _list_versions(client, name) if v.tags.get("folder_sha256") == content), None)
    if version is None:
        artifact_path = record.artifact_paths()[model.folder]
        if model.folder not in record.list_uploads():
            client.log_artifacts(run_id, model.folder, artifact_path)
        root = client.get_run(run_id).info.artifact_uri or ""
        source = f"{root}/{quote(artifact_path) if root.startswith('file:') else artifact_path}"
        version = client.create_model_version(name, source=source, run_id=run_id, tags={"folder_sha256": content})
    tags = {
        "setting": record.item or record.stage,
        "preset": preset,
        "eligible": str(model.eligible).lower(),
        "registered_at": f"{time.time_ns():020d}",
    }
    if model.score is not None:
        tags["analysis_accuracy"] = repr(float(model.score))
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    _update_aliases(client, name, preset)


def _list_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    versions, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def _update_aliases(client: MlflowClient, name: str, preset: str) -> None:
    current: dict[str, ModelVersion] = {}
    for version in _list_versions(client, name):
        setting = version.tags.get("setting")
        if version.tags.get("preset") != preset or setting is None:
            continue
        if setting not in current or version.tags["registered_at"] > current[setting].tags["registered_at"]:
            current[setting] = version
    for alias, eligible in ((BEST, "true"), (UPPER_BOUND, "false")):
        candidates = [v for v in current.values() if v.tags["eligible"] == eligible and "analysis_accuracy" in v.tags]
        if candidates:  # equal accuracies: the setting that comes first by name
            winner = min(candidates, key=lambda v: (-float(v.tags["analysis_accuracy"]), v.tags["setting"]))
            client.set_registered_model_alias(name, alias, winner.version)
        else:
            with contextlib.suppress(Exception):
                client.delete_registered_model_alias(name, alias)


def fetch_model(name: str, alias: str = BEST) -> Path:
    """Download a registered model once, into `mlruns/downloads`.

    Args:
        name: Name of the registered model, as the record names it or as MLflow shows it.
        alias: `best`, `upper-bound`, or the number of a version.

    Returns:
        The model's folder.

    Raises:
        TrackingError: There is no such model.
    """
    name, client = registered_name(name), get_client()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        if alias.isdigit():
            version = client.get_model_version(name, alias)
        else:
            version = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise TrackingError(
            f"no registered model {name}@{alias}: {error.message}; `make log` enters what is under out/"
        ) from None
    target = (
        TRACKING_DIR
        / "downloads"
        / f"{file_name(name)}-v{version.version}-{version.tags.get('folder_sha256', '')[:12]}"
    )
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as tmp_dir:
        Path(tmp_dir, "model").mkdir()
        source = client.get_model_version_download_uri(name, version.version)
        downloaded = download_artifacts(source, dst_path=str(Path(tmp_dir, "model")), tracking_uri=tracking_uri())
        try:
            os.rename(downloaded, target)
        except OSError:
            if not target.is_dir():  # another process was faster
                raise
    return target
