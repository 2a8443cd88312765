"""`make log`: every stage item whose outs are there and belong to the present parameters."""

import types
from pathlib import Path

import pytest
import yaml

from synesthesia import config as parameters
from synesthesia.pipeline import log_runs
from synesthesia.tracking import Record

ROOT = Path(__file__).parents[3]


@pytest.fixture
def params():
    return parameters.load(ROOT / "params/embedded.yaml")


@pytest.fixture
def stages(monkeypatch):
    """Stage modules whose records say which item they are of; `gap` has no outs."""

    def module(name):
        stage = name.rsplit(".", 1)[1]
        return types.SimpleNamespace(record=lambda params, item: None if stage == "gap" else Record(stage, item))

    monkeypatch.setattr(log_runs.importlib, "import_module", module)
    return list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_it_walks_every_item_that_dvc_has(params, stages, capsys):
    names = [record.name for record in log_runs.iter_records(params, stages, {})]
    assert names[:3] == ["curate", "ask", "evaluate@qwen2-audio"]
    assert {f"distill@{key}" for key in params.distill.settings} <= set(names)
    assert {f"evaluate_students@{key}" for key in params.distill.settings} <= set(names)
    assert names[-1] == "report"
    assert "gap" not in names
    assert "gap: no outs" in capsys.readouterr().out


def test_outs_of_other_parameters_are_left_out_and_named(params, stages, capsys):
    names = [record.name for record in log_runs.iter_records(params, stages, {"route": "params.yaml: route.mode"})]
    assert "route" not in names
    assert "route: left out, `dvc repro` first (params.yaml: route.mode)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"changed deps": {"params.yaml": {"ask.seed": "modified"}}}, ["params.yaml: ask.seed"]),
        (
            {"changed deps": {"src/synesthesia/questions/sampling.py": "modified"}},
            ["src/synesthesia/questions/sampling.py modified"],
        ),
        ({"changed outs": {"out/make_questions/questions.parquet": "modified"}}, ["out/make_questions/questions.parquet modified"]),
        ({"changed deps": {"data": "deleted"}}, []),
        ({"changed outs": {"out/curate/store": "not in cache"}}, []),
        ("changed command", ["changed command"]),
    ],
)
def test_what_changed_makes_outs_outdated_what_is_absent_does_not(entry, said):
    assert list(log_runs._iter_changes(entry)) == said
