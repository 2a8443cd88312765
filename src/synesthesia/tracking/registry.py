"""Registered models: one version for each content, and the aliases `best` and `upper-bound`.

Versions are compared by their tags alone: `analysis_accuracy` (never the test split's), `eligible`, `setting`, `preset`,
`folder_sha256`, and `entered`, when this content was last seen as the setting's current one. A setting that was
distilled again under other parameters has several versions; only its newest competes, and only within the study's
size, since accuracies on other questions do not compare.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from synesthesia.tracking.mlflow_client import TRACKING_DIR, TrackingError, get_client, tracking_uri
from synesthesia.tracking.record import Record, digest

BEST, UPPER_BOUND = "best", "upper-bound"


def register_model(client, record: Record, run_id: str, preset: str) -> None:
    """Make sure that the record's model is a version, tag it with what the record knows, and move the aliases."""
    model = record.model
    if model is None:
        return
    from mlflow.exceptions import MlflowException

    content = digest(model.folder)
    with contextlib.suppress(MlflowException):  # it is there already
        client.create_registered_model(model.name)
    version = next((v for v in _list_versions(client, model.name) if v.tags.get("folder_sha256") == content), None)
    if version is None:
        where = record.artifact_path(model.folder)
        if model.folder not in record.list_uploads():
            client.log_artifacts(run_id, model.folder, where)
        source = f"{client.get_run(run_id).info.artifact_uri}/{where}"
        version = client.create_model_version(model.name, source=source, run_id=run_id, tags={"folder_sha256": content})
    tags = {
        "setting": record.item or record.stage,
        "preset": preset,
        "eligible": str(model.eligible).lower(),
        "entered": f"{time.time_ns():020d}",
    }
    if model.score is not None:
        tags["analysis_accuracy"] = repr(float(model.score))
    for key, value in tags.items():
        client.set_model_version_tag(model.name, version.version, key, value)
    _update_aliases(client, model.name, preset)


def _list_versions(client, name: str) -> list:
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _update_aliases(client, name: str, preset: str) -> None:
    current: dict[str, object] = {}
    for version in _list_versions(client, name):
        setting = version.tags.get("setting")
        if version.tags.get("preset") != preset or setting is None:
            continue
        if setting not in current or version.tags["entered"] > current[setting].tags["entered"]:
            current[setting] = version
    for alias, eligible in ((BEST, "true"), (UPPER_BOUND, "false")):
        scored = [v for v in current.values() if v.tags["eligible"] == eligible and "analysis_accuracy" in v.tags]
        if scored:  # equal accuracies: the setting that comes first by name
            winner = min(scored, key=lambda v: (-float(v.tags["analysis_accuracy"]), v.tags["setting"]))
            client.set_registered_model_alias(name, alias, winner.version)
        else:
            with contextlib.suppress(Exception):
                client.delete_registered_model_alias(name, alias)


def fetch_model(name: str, alias: str = BEST) -> Path:
    """The folder of a registered model, downloaded once under `mlruns/fetched`; `alias` may be a version's number."""
    of = get_client()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        version = of.get_model_version(name, alias) if alias.isdigit() else of.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise TrackingError(
            f"no registered model {name}@{alias}: {error.message}; `make log` enters what is under out/"
        ) from None
    target = TRACKING_DIR / "fetched" / f"{name}-v{version.version}-{version.tags.get('folder_sha256', '')[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        Path(beside, "model").mkdir()
        source = of.get_model_version_download_uri(name, version.version)
        got = download_artifacts(source, dst_path=str(Path(beside, "model")), tracking_uri=tracking_uri())
        try:
            os.rename(got, target)
        except OSError:
            if not target.is_dir():  # another process was faster
                raise
    return target
