"""Which code, data and parameters a run came from, as tags; what no commit holds, as text for its artifacts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

RESTORE_INSTRUCTIONS = """To restore the exact state of this run, in a clone of the project:

    git checkout {commit}
    git apply uncommitted.patch   # artifact provenance/uncommitted.patch, when tag git.dirty is true
    cp dvc.lock params.yaml .     # artifacts provenance/dvc.lock and provenance/params.yaml
    dvc checkout                  # or `dvc pull`; `dvc repro` makes what no cache holds
"""
DVC_GENERATED_PATHS = [":(exclude)dvc.lock", ":(exclude)out"]  # every `dvc repro` rewrites these: they are no edit
SOURCE_PATHS = ["src", "params", "params.yaml", "dvc.yaml", "*.dvc"]  # where a new file can matter; others stay private
MAX_NEW_FILE_BYTES = 2**18


def current_preset(path: str = "params.yaml") -> str:
    """The study's size, for the experiment's name; `unknown` outside of a study."""
    try:
        return str((_load_yaml(path) or {}).get("preset", "unknown"))
    except (OSError, yaml.YAMLError, AttributeError):
        return "unknown"


def _load_yaml(path: str | Path) -> dict:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, loader)


def _run_git(*args: str) -> str:
    try:
        result = subprocess.run(["git", *args], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode("utf-8", "surrogateescape") if result.returncode in (0, 1) else ""


def code_tags_and_patch() -> tuple[dict[str, str], str]:
    """Tags for commit and edits, and the edits themselves as a patch that `git apply` takes (new files included)."""
    commit = _run_git("rev-parse", "HEAD").strip()
    if not commit:
        return {"git.commit": "none"}, ""
    patch = _run_git("diff", "--binary", "HEAD", "--", ".", *DVC_GENERATED_PATHS)
    for name in _run_git("ls-files", "--others", "--exclude-standard", "-z", "--", *SOURCE_PATHS).split("\0"):
        if name and Path(name).is_file() and Path(name).stat().st_size <= MAX_NEW_FILE_BYTES:
            patch += _run_git("diff", "--binary", "--no-index", "/dev/null", name)
    tags = {"git.commit": commit, "git.dirty": str(bool(patch)).lower(), "mlflow.source.git.commit": commit}
    if patch:
        tags["git.diff"] = hashlib.sha256(patch.encode("utf-8", "surrogateescape")).hexdigest()
    branch = _run_git("branch", "--show-current").strip()
    return tags | ({"git.branch": branch} if branch else {}), patch


def params_tags() -> dict[str, str]:
    """The fingerprint of `params.yaml` as values: comments and order of keys do not count."""
    try:
        values = _load_yaml("params.yaml")
    except (OSError, yaml.YAMLError):
        return {}
    return {"params.fingerprint": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def data_tags(name: str, inputs: list[str], finalized: bool) -> dict[str, str]:
    """Tags `data.<path>` with DVC's MD5 of what went in and, once DVC has written its lock, of what came out.

    While a stage runs, `dvc.lock` still has its previous outs: `settled` says that it has ended. An input's MD5 is
    taken from the stage that made it or its .dvc file, else from what this stage last depended on; a folder of several
    stages' outs gives a tag for each.
    """
    try:
        stages = _load_yaml("dvc.lock")["stages"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        stages = {}
    own = stages.get(name, {})
    made = _md5_by_path(entry for stage in stages.values() for entry in stage.get("outs", []))
    depended = _md5_by_path(own.get("deps", []))
    tags = {}
    for path in inputs:
        md5 = made.get(path) or _dvc_file_md5(path) or depended.get(path)
        below = {other: md5 for other, md5 in made.items() if other.startswith(f"{path}/")}
        tags |= {f"data.{key}": value for key, value in ({path: md5} if md5 else below).items()}
    if finalized:
        tags |= {f"out.{path}": md5 for path, md5 in _md5_by_path(own.get("outs", [])).items()}
    return tags


def _md5_by_path(entries: Iterable[dict]) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}


def _dvc_file_md5(path: str) -> str | None:
    try:
        return _load_yaml(f"{path}.dvc")["outs"][0]["md5"]
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return None
