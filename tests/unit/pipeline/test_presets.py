"""Presets: activating one, checking them, and printing the plan without changing anything."""

import shutil
from pathlib import Path

import pytest

from synesthesia.pipeline import presets

ROOT = Path(__file__).parents[3]


@pytest.fixture
def study(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "params", tmp_path / "params")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "params/embedded.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_stdout(capsys):
    return capsys.readouterr().out


def test_use_copies_the_preset_to_params(study, capsys):
    presets.main(["use", "paper"])
    assert Path("params.yaml").read_bytes() == Path("params/paper.yaml").read_bytes()
    assert "params/paper.yaml" in read_stdout(capsys)
    presets.main(["use", "embedded"])
    assert Path("params.yaml").read_bytes() == Path("params/embedded.yaml").read_bytes()


def test_use_keeps_a_file_with_the_same_values(study, capsys):
    text = "# user comment\n" + Path("params.yaml").read_text()
    Path("params.yaml").write_text(text)
    presets.main(["use", "embedded"])
    assert Path("params.yaml").read_text() == text
    assert read_stdout(capsys) == ""


def test_edits_are_overwritten_only_with_force(study):
    text = Path("params.yaml").read_text().replace("rank: 16", "rank: 8")
    Path("params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"edits that would be lost.*--force"):
        presets.main(["use", "paper"])
    assert Path("params.yaml").read_text() == text
    presets.main(["use", "paper", "--force"])
    assert Path("params.yaml").read_bytes() == Path("params/paper.yaml").read_bytes()


def test_edits_saved_as_a_preset_can_be_activated_again(study):
    edited = Path("params.yaml").read_text().replace("rank: 16", "rank: 8")
    Path("params.yaml").write_text(edited)
    Path("params/rank8.yaml").write_text(edited)
    presets.main(["use", "paper"])
    presets.main(["use", "rank8"])
    assert Path("params.yaml").read_text() == edited


def test_unknown_preset_error_names_the_available_ones(study):
    with pytest.raises(SystemExit, match=r"no preset 'papr'; available: embedded, paper"):
        presets.main(["use", "papr"])


def test_preset_with_a_typo_is_rejected(study):
    Path("params/paper.yaml").write_text(Path("params/paper.yaml").read_text().replace("epochs: 30", "epoch: 30"))
    with pytest.raises(SystemExit, match=r"train_switch\.epoch: unknown key"):
        presets.main(["use", "paper"])
    assert Path("params.yaml").read_bytes() == Path("params/embedded.yaml").read_bytes()


@pytest.mark.slow  # DVC resolves dvc.yaml
def test_plan_prints_the_graph_of_the_paper_and_changes_nothing(study, capsys):
    def read_files():
        return {p: p.read_bytes() for p in sorted(study.rglob("*")) if p.is_file()}

    before = read_files()
    presets.main(["plan", "paper"])
    lines = read_stdout(capsys).splitlines()
    names = [line.split()[0] for line in lines if "synesthesia.pipeline" in line]
    assert names[:2] == ["curate", "make_questions"]
    assert names[-1] == "report"
    assert len([name for name in names if name.startswith("evaluate@")]) == 7
    assert len([name for name in names if name.startswith("distill@")]) == 7
    assert len(set(names)) == len(names)
    assert read_files() == before


@pytest.mark.slow
def test_graph_is_in_a_runnable_order(study):
    finished = set()
    for name, command, dependencies in presets.resolve_graph("embedded"):
        assert set(dependencies) <= finished
        assert command.startswith("python -m synesthesia.pipeline.")
        finished.add(name)


def test_check_names_every_file_or_the_wrong_key(study, capsys):
    presets.main(["check"])
    assert "params.yaml, params/embedded.yaml, params/paper.yaml" in read_stdout(capsys)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("threshold: 0.5", "treshold: 0.5"))
    with pytest.raises(SystemExit, match=r"route\.treshold: unknown key; did you mean threshold\?"):
        presets.main(["check"])
