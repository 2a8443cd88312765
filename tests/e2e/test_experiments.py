"""`dvc exp run -S` changes a parameter in DVC's own YAML, which every stage then reads with the same value and type."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synesthesia import config
from synesthesia.pipeline import presets
from synesthesia.utils import yaml_file

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PRESETS = ("embedded", "paper")
# DVC splits keys at dots, and Hydra's syntax for keys has neither blanks nor parentheses.
NOT_ADDRESSABLE = ("curate.display_names.", "report.thresholds.")


def iter_leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield key and value of every leaf; an empty mapping is a leaf."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from iter_leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, values


def override(values: dict[str, Any]) -> None:
    """Do to params.yaml what `dvc exp run -S key=value` does for each key."""
    from dvc.utils.hydra import apply_overrides

    apply_overrides("params.yaml", [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()])


@pytest.fixture
def params(tmp_path, monkeypatch):
    def use(preset: str) -> Any:
        shutil.copy(ROOT / f"params/{preset}.yaml", tmp_path / "params.yaml")
        return yaml_file.load("params.yaml")

    monkeypatch.chdir(tmp_path)
    return use


@pytest.mark.parametrize("preset", PRESETS)
def test_every_leaf_keeps_value_and_type_through_dvcs_writer(params, preset):
    before = params(preset)
    leaves = {k: v for k, v in iter_leaves(before) if not k.startswith(NOT_ADDRESSABLE)}
    assert len(leaves) > 150
    override(leaves)
    after = yaml_file.load("params.yaml")
    assert json.dumps(after) == json.dumps(before), "json tells 1 from 1.0 and true"
    assert config.load("params.yaml") == config.load(ROOT / f"params/{preset}.yaml")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("human_study.headphone_check", "off", "off"),
        ("distill.training.learning_rate", "1e-5", 1e-5),
        ("distill.training.temperature", "4", 4),
        ("distill.training.micro_batch_size", "null", None),
        ("curate.drop_multi_name_labels", "false", False),
        ("models.qwen2-5-omni.splits", "[test,analysis]", ["test", "analysis"]),
        ("models.qwen2-audio.title", "'12:30'", "12:30"),
        ("models.qwen2-audio.title", "'no'", "no"),
        ("models.qwen2-audio.title", "'017'", "017"),
    ],
)
def test_a_value_of_the_command_line_is_read_with_its_type(params, key, text, value):
    from dvc.utils.hydra import apply_overrides

    params("embedded")
    apply_overrides("params.yaml", [f"{key}={text}"])
    node: Any = config.load("params.yaml").model_dump()
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_exp_run_on_a_finished_study_runs_what_depends_on_the_parameter(ran, scratch):
    Path(".dvc/config").write_text("")
    Path(".gitignore").write_text("/data\n/out\n")
    run = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: E731
    for command in (
        ("git", "init", "-q"),
        ("git", "config", "user.email", "a@example.org"),
        ("git", "config", "user.name", "A"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "study"),
    ):
        assert run(*command).returncode == 0, command
    done = run("dvc", "exp", "run", "-S", "route.mode=true_gap", "-S", "distill.training.learning_rate=1e-5")
    assert done.returncode == 0, done.stderr
    ran_stages = {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}
    assert ran_stages == {"route", "report", "distill@visual-to-audio", "distill@audio-to-visual"}
    presets.main(["check"])
    assert config.load("params.yaml").route.mode == "true_gap"
    assert config.load("params.yaml").distill.training.learning_rate == 1e-5
    assert ran.status() == {}
