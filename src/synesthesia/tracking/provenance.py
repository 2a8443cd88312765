"""Code, data, and parameters of a run: as tags, and as text for what no commit holds."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from synesthesia.utils import hashing, yaml_file

RESTORE_INSTRUCTIONS = """To restore the exact state of this run, in a clone of the project:

    git checkout {commit}
    git apply uncommitted.patch   # artifact provenance/uncommitted.patch, if the tag git.dirty is true
    cp dvc.lock params.yaml .     # artifacts provenance/dvc.lock and provenance/params.yaml
    dvc checkout                  # or `dvc pull`; `dvc repro` computes what no cache holds
"""
DVC_GENERATED_PATHS = [":(exclude)dvc.lock", ":(exclude)out"]  # every `dvc repro` rewrites them: they are no edit
SOURCE_PATHS = ["src", "params", "params.yaml", "dvc.yaml", "*.dvc"]  # new files count here; others stay private
MAX_NEW_FILE_BYTES = 2**18


@dataclass(frozen=True)
class Snapshot:
    """Code and parameters at the start of a stage.

    Attributes:
        preset: Name of the preset, for the experiment's name.
        tags: Commit, edits, and parameters.
        patch: The edits; `git apply` takes them.
    """

    preset: str = "unknown"
    tags: dict[str, str] = field(default_factory=dict)
    patch: str = ""

    @classmethod
    def take(cls) -> Snapshot:
        """Read the current state of the project."""
        tags, patch = code_tags_and_patch()
        return cls(current_preset(), tags | params_tags(), patch)


def current_preset(path: str = "params.yaml") -> str:
    """Return the name of the preset in use, `unknown` without one.

    Args:
        path: The parameters.
    """
    try:
        return str(yaml_file.load(path).get("preset", "unknown"))
    except (OSError, yaml_file.YamlFileError, AttributeError):
        return "unknown"


def _load_dvc_file(path: str | Path) -> dict:
    """Read a file that DVC writes; dvc.lock has thousands of lines, which ruamel.yaml takes seconds for."""
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
    """Read commit and edits, including new files.

    Returns:
        Tags, and the edits as a patch for `git apply`.
    """
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
    """Return the fingerprint of the values of `params.yaml`; comments and the order of keys do not count."""
    try:
        values = yaml_file.load("params.yaml")
    except (OSError, yaml_file.YamlFileError):
        return {}
    return {"params.fingerprint": hashing.hash_json(values)}


def data_tags(name: str, inputs: Sequence[str], finalized: bool) -> dict[str, str]:
    """Look up DVC's hashes of a stage's data.

    An input has the version of the stage that wrote it, else that of its `.dvc` file.

    Args:
        name: `stage` or `stage@item`, as in DVC.
        inputs: Dependencies; a folder stands for all outputs below it.
        finalized: DVC has written its lock for this stage, so the hashes of its outputs are valid too.

    Returns:
        Tags `data.<path>` and `out.<path>`.
    """
    try:
        stages = _load_dvc_file("dvc.lock")["stages"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        stages = {}
    stage = stages.get(name, {})
    out_md5s = _md5_by_path(entry for other in stages.values() for entry in other.get("outs", []))
    dep_md5s = _md5_by_path(stage.get("deps", []))
    tags = {}
    for path in inputs:
        md5 = out_md5s.get(path) or _dvc_file_md5(path) or dep_md5s.get(path)
        below = {out: out_md5 for out, out_md5 in out_md5s.items() if out.startswith(f"{path}/")}
        tags |= {f"data.{key}": value for key, value in ({path: md5} if md5 else below).items()}
    if finalized:
        tags |= {f"out.{path}": md5 for path, md5 in _md5_by_path(stage.get("outs", [])).items()}
    return tags


def _md5_by_path(entries: Iterable[dict]) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}


def _dvc_file_md5(path: str) -> str | None:
    try:
        return _load_dvc_file(f"{path}.dvc")["outs"][0]["md5"]
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return None
