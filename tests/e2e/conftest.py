"""The real dvc.yaml in a scratch folder, with stages that only write their outputs."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]

UNCHANGED: dict[str, str] = {}  # result of `stages` for the embedded preset; equal in every scratch folder

STUB_STAGE = """
import sys
from pathlib import Path
for out in sys.argv[1:]:
    path = Path(out)
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for name in ("analysis.parquet", "checkpoint.json", "adapter/weights"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(out)
"""


@pytest.fixture(scope="session")
def quick_dvc():
    """Run DVC in this process, quietly, with this Python, and parse each YAML text only once."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    logging.getLogger("dvc").setLevel(logging.ERROR)
    cache, parse = {}, _yaml.parse_yaml

    def parse_once(text, path, typ="safe"):
        if typ != "safe":
            return parse(text, path, typ)
        if text not in cache:
            cache[text] = pickle.dumps(parse(text, path))
        return pickle.loads(cache[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_yaml, "parse_yaml", parse_once)
        patch.setattr(strictyaml, "parse_yaml", parse_once)
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


def make_study(folder: Path) -> None:
    """Create dvc.yaml, params.yaml (the embedded preset) and an empty DVC repository."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / "params/embedded.yaml", folder / "params.yaml")
    shutil.copytree(ROOT / "params", folder / "params")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n")


@pytest.fixture
def scratch(tmp_path, monkeypatch, quick_dvc):
    """Change into a study in which no stage has run."""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)

    def change(key, value):
        """Set one parameter, named as `a/b/c` (names may hold dots)."""
        values = yaml.safe_load(Path("params.yaml").read_text())
        node = values
        *parents, last = key.split("/")
        for part in parents:
            node = node[part]
        assert last in node, f"no parameter {key}"
        node[last] = value
        Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def stages():
        """Return what DVC compares per stage item: command, paths, and the parameters that it reads."""
        repo = Repo(str(tmp_path))
        try:
            contents = {}
            for stage in repo.index.stages:
                read = [dep.read_params() for dep in stage.deps if hasattr(dep, "read_params")]
                paths = [[p.def_path for p in side] for side in (stage.deps, stage.outs)]
                contents[stage.name] = json.dumps([stage.cmd, paths, read], sort_keys=True, default=str)
            return contents
        finally:
            repo.close()

    if not UNCHANGED:
        UNCHANGED.update(stages())
    return SimpleNamespace(change=change, stages=stages, unchanged=UNCHANGED)


@pytest.fixture(scope="session")
def ran_once(tmp_path_factory, quick_dvc) -> Path:
    """Run `dvc repro` once on a study of two settings with stub stages; tests copy it, since DVC takes seconds."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("ran")
    make_study(folder)
    config = yaml.safe_load((folder / "params.yaml").read_text())
    settings = config["distill"]["settings"]
    config["distill"]["settings"] = {name: settings[name] for name in ("visual-to-audio", "audio-to-visual")}
    (folder / "params.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    (folder / "stub_stage.py").write_text(STUB_STAGE)
    for stage in pipeline["stages"].values():
        body = stage.get("do", stage)
        outs = [out if isinstance(out, str) else next(iter(out)) for out in body["outs"] + body.get("metrics", [])]
        body["cmd"] = " ".join(["python -S stub_stage.py", *outs, "#", body["cmd"]])
        for dep in body["deps"]:
            if "${" not in dep and not dep.startswith("out/"):
                path = folder / dep
                if dep.startswith("src/") and (ROOT / dep).is_dir():
                    path /= "__init__.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("source")
    for path in [model["checkpoint"] for model in config["models"].values()] + [config["train_switch"]["checkpoint"]]:
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / "weights").write_text(path)
    for path in {entry["file"] for entry in config["import_answers"]["respondents"].values()}:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(path)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch, Repo(str(folder)) as repo:
        patch.chdir(folder)
        repo.reproduce()
    return folder


@pytest.fixture
def ran(scratch, ran_once):
    """Copy that study; offer `dvc status`, `dvc repro` (returns the stages that ran) and `dvc add`."""
    from dvc.repo import Repo

    def status():
        with Repo() as repo:
            return repo.status()

    def repro():
        with Repo() as repo:
            return {stage.addressing for stage in repo.reproduce()}

    def add(path):
        with Repo() as repo:
            repo.add(path)

    shutil.copytree(ran_once, ".", symlinks=True, dirs_exist_ok=True)
    return SimpleNamespace(change=scratch.change, status=status, repro=repro, add=add)
