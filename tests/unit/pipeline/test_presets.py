"""Changing the study's size, and looking at one without touching anything."""

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


def said(capsys):
    return capsys.readouterr().out


def test_use_puts_a_preset_in_the_place_of_params(study, capsys):
    presets.main(["use", "paper"])
    assert Path("params.yaml").read_bytes() == Path("params/paper.yaml").read_bytes()
    assert "params/paper.yaml" in said(capsys)
    presets.main(["use", "embedded"])
    assert Path("params.yaml").read_bytes() == Path("params/embedded.yaml").read_bytes()


def test_use_leaves_a_file_with_the_same_values_alone(study, capsys):
    text = "# my own comment\n" + Path("params.yaml").read_text()
    Path("params.yaml").write_text(text)
    presets.main(["use", "embedded"])
    assert Path("params.yaml").read_text() == text
    assert said(capsys) == ""


def test_edits_are_not_lost_unless_forced(study):
    text = Path("params.yaml").read_text().replace("rank: 16", "rank: 8")
    Path("params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"edits of its own.*--force"):
        presets.main(["use", "paper"])
    assert Path("params.yaml").read_text() == text
    presets.main(["use", "paper", "--force"])
    assert Path("params.yaml").read_bytes() == Path("params/paper.yaml").read_bytes()


def test_edits_kept_as_a_preset_of_their_own_are_not_lost(study):
    edited = Path("params.yaml").read_text().replace("rank: 16", "rank: 8")
    Path("params.yaml").write_text(edited)
    Path("params/rank8.yaml").write_text(edited)
    presets.main(["use", "paper"])
    presets.main(["use", "rank8"])
    assert Path("params.yaml").read_text() == edited


def test_an_unknown_size_names_the_known_ones(study):
    with pytest.raises(SystemExit, match=r"no size 'papr'; known: embedded, paper"):
        presets.main(["use", "papr"])


def test_a_preset_with_a_typo_is_not_used(study):
    Path("params/paper.yaml").write_text(Path("params/paper.yaml").read_text().replace("epochs: 30", "epoch: 30"))
    with pytest.raises(SystemExit, match=r"switch\.epoch: unknown key"):
        presets.main(["use", "paper"])
    assert Path("params.yaml").read_bytes() == Path("params/embedded.yaml").read_bytes()


@pytest.mark.slow  # DVC resolves dvc.yaml
def test_dry_shows_the_papers_graph_and_touches_nothing(study, capsys):
    def content():
        return {p: p.read_bytes() for p in sorted(study.rglob("*")) if p.is_file()}

    before = content()
    presets.main(["dry", "paper"])
    lines = said(capsys).splitlines()
    names = [line.split()[0] for line in lines if "synesthesia.pipeline" in line]
    assert names[:2] == ["curate", "ask"]
    assert names[-1] == "report"
    assert len([name for name in names if name.startswith("evaluate@")]) == 7
    assert len([name for name in names if name.startswith("distill@")]) == 7
    assert len(set(names)) == len(names)
    assert content() == before


@pytest.mark.slow
def test_the_graph_comes_in_an_order_in_which_it_can_run(study):
    done = set()
    for name, command, waits in presets.resolve_graph("embedded"):
        assert set(waits) <= done
        assert command.startswith("python -m synesthesia.pipeline.")
        done.add(name)


def test_check_names_each_file_or_the_wrong_key(study, capsys):
    presets.main(["check"])
    assert "params.yaml, params/embedded.yaml, params/paper.yaml" in said(capsys)
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("threshold: 0.5", "treshold: 0.5"))
    with pytest.raises(SystemExit, match=r"route\.treshold: unknown key; did you mean threshold\?"):
        presets.main(["check"])
