"""`make log`: every stage item whose outputs exist and match the current parameters."""

import types
from pathlib import Path

import pytest
import yaml

from synesthesia import config as configuration
from synesthesia.pipeline import log_runs
from synesthesia.tracking import Record

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config():
    return configuration.load(ROOT / "params/embedded.yaml")


@pytest.fixture
def stages(monkeypatch):
    """Replace the stage modules by ones whose records name their item; `measure_gap` has no outputs."""

    def module(name):
        stage = name.rsplit(".", 1)[1]
        return types.SimpleNamespace(
            build_record=lambda config, item: None if stage == "measure_gap" else Record(stage, item)
        )

    monkeypatch.setattr(log_runs.importlib, "import_module", module)
    return list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_iterates_over_every_item_of_dvc_yaml(config, stages, capsys):
    names = [record.name for record in log_runs.iter_records(config, stages, {})]
    assert names[:3] == ["curate", "make_questions", "evaluate@qwen2-audio"]
    assert {f"distill@{key}" for key in config.distill.settings} <= set(names)
    assert {f"evaluate_students@{key}" for key in config.distill.settings} <= set(names)
    assert names[-1] == "report"
    assert "measure_gap" not in names
    assert "measure_gap: no outputs" in capsys.readouterr().out


def test_outdated_outputs_are_skipped_and_named(config, stages, capsys):
    names = [record.name for record in log_runs.iter_records(config, stages, {"route": "params.yaml: route.mode"})]
    assert "route" not in names
    assert "route: skipped, run `dvc repro` first (params.yaml: route.mode)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "changes"),
    [
        ({"changed deps": {"params.yaml": {"make_questions.seed": "modified"}}}, ["params.yaml: make_questions.seed"]),
        (
            {"changed deps": {"src/synesthesia/questions/sampling.py": "modified"}},
            ["src/synesthesia/questions/sampling.py modified"],
        ),
        (
            {"changed outs": {"out/make_questions/questions.parquet": "modified"}},
            ["out/make_questions/questions.parquet modified"],
        ),
        ({"changed deps": {"data": "deleted"}}, []),
        ({"changed outs": {"out/curate/store": "not in cache"}}, []),
        ("changed command", ["changed command"]),
    ],
)
def test_changes_make_outputs_outdated_but_missing_files_do_not(entry, changes):
    assert list(log_runs._iter_changes(entry)) == changes
