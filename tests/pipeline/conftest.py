"""The study's real dvc.yaml in a scratch folder, with stages that do nothing but write their outs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]

UNCHANGED: dict[str, str] = {}  # what `stages` gives for the embedded preset; the same in every scratch folder

STAND_IN = """
import sys
from pathlib import Path
for out in sys.argv[1:]:
    path = Path(out)
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for name in ("analysis.parquet", "adapter/weights"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(out)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """dvc.yaml, params.yaml (the embedded preset) and an empty DVC repository; no stage has run."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "params/embedded.yaml", tmp_path / "params.yaml")
    shutil.copytree(ROOT / "params", tmp_path / "params")
    Repo.init(str(tmp_path), no_scm=True).close()

    def change(key, value):
        """Set one parameter, named as `a/b/c` (names may hold dots)."""
        values = yaml.safe_load(Path("params.yaml").read_text())
        at = values
        *parents, last = key.split("/")
        for part in parents:
            at = at[part]
        assert last in at, f"no parameter {key}"
        at[last] = value
        Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def stages():
        """What DVC would compare of each stage item: command, paths, and the parameters that it reads."""
        repo = Repo(str(tmp_path))
        try:
            found = {}
            for stage in repo.index.stages:
                read = [dep.read_params() for dep in stage.deps if hasattr(dep, "read_params")]
                paths = [[p.def_path for p in side] for side in (stage.deps, stage.outs)]
                found[stage.name] = json.dumps([stage.cmd, paths, read], sort_keys=True, default=str)
            return found
        finally:
            repo.close()

    if not UNCHANGED:
        UNCHANGED.update(stages())
    return SimpleNamespace(change=change, stages=stages, unchanged=UNCHANGED)


PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def call_dvc(*arguments, cwd="."):
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PATH": PATH})
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def ran_once(tmp_path_factory) -> Path:
    """A study after a `dvc repro` with stand-ins for the stages, to be copied: DVC takes a quarter minute for it."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copy(ROOT / "params/embedded.yaml", folder / "params.yaml")
    shutil.copytree(ROOT / "params", folder / "params")
    call_dvc("init", "--no-scm", "--quiet", cwd=folder)
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    (folder / "stand_in.py").write_text(STAND_IN)
    for stage in pipeline["stages"].values():
        body = stage.get("do", stage)
        outs = [out if isinstance(out, str) else next(iter(out)) for out in body["outs"] + body.get("metrics", [])]
        body["cmd"] = " ".join(["python stand_in.py", *outs, "#", body["cmd"]])
        for dep in body["deps"]:
            if "${" not in dep and not dep.startswith("out/"):
                (folder / dep).parent.mkdir(parents=True, exist_ok=True)
                (folder / dep).write_text("source")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for path in [model["checkpoint"] for model in params["models"].values()] + [params["switch"]["checkpoint"]]:
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / "weights").write_text(path)
    for path in {entry["file"] for entry in params["collect"]["respondents"].values()}:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(path)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    call_dvc("repro", "--quiet", cwd=folder)
    return folder


@pytest.fixture
def ran(scratch, ran_once):
    """A copy of that study; gives `dvc` to go on with."""
    shutil.copytree(ran_once, ".", symlinks=True, dirs_exist_ok=True)
    scratch.dvc = call_dvc
    scratch.status = lambda: json.loads(call_dvc("status", "--json"))
    return scratch
