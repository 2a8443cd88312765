"""Stages on the command line, and their items. Needs no torch."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from synesthesia.pipeline import stage_cli
from tests.helpers.preset_files import PATH as PARAMS
from tests.helpers.preset_files import embedded

ITEMS = {"answer": "model", "examine": "setting", "distill": "setting"}


def called(name, *arguments):
    command = [sys.executable, "-m", f"synesthesia.pipeline.{name}", "--params", str(PARAMS)]
    env = {**os.environ, "SYNESTHESIA_DEVICE": "cpu"}  # counting GPUs would import torch
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=env)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_unknown_item_is_one_sentence_with_those_there_are():
    done = called("answer", "nonsense")
    assert done.returncode == 1
    sentence = "answer: no model 'nonsense' in the parameters; there are: qwen2-audio, qwen2-vl, qwen2-5-omni\n"
    assert (done.stdout, done.stderr) == ("", sentence)
    assert not list(Path().iterdir())


def ended(name, *arguments):
    """A stage's `main` in this process; gives its exit code."""
    module = importlib.import_module(f"synesthesia.pipeline.{name}")
    with pytest.raises(SystemExit) as exit_:
        stage_cli.main(module.run, module.__doc__, item_kind=ITEMS.get(name), argv=[*map(str, arguments)])
    return exit_.value.code


@pytest.mark.parametrize("name", ["examine", "distill"])
def test_an_unknown_setting_is_told_those_there_are(name, capsys):
    assert ended(name, "nonsense", "--params", PARAMS) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{name}: no setting 'nonsense' in the parameters; there are: visual-to-audio, ")


def test_a_mistyped_item_is_told_the_nearest():
    with pytest.raises(
        stage_cli.UnknownItemError, match="no model 'qwen2-vI' in the parameters; did you mean 'qwen2-vl'"
    ):
        stage_cli.get_item({"qwen2-vl": 1, "qwen2-audio": 2}, "qwen2-vI", "model")


@pytest.mark.parametrize("name, item", [("route", []), ("distill", ["visual-to-audio"])])
def test_a_table_that_is_missing_is_named_with_what_to_run(name, item, capsys):
    assert ended(name, *item, "--params", PARAMS) == 1
    assert capsys.readouterr().err == (
        f"{name}: out/curate/clips.parquet is missing: run `dvc repro` (or the stage that writes it) first\n"
    )


@pytest.mark.parametrize("name", [*ITEMS, "route", "switch"])
def test_help_has_examples_that_can_be_typed(name, capsys):
    assert ended(name, "--help") == 0
    said = capsys.readouterr().out.split("\nexamples:\n")[1].split("\n\n")[0]
    given = embedded()
    known = {"model": given.models, "setting": given.distill.settings}.get(ITEMS.get(name), {name: 1})
    examples = [line.strip() for line in said.splitlines()]
    assert len(examples) >= 2
    for example in examples:
        assert example.startswith((f"python -m synesthesia.pipeline.{name}", "dvc "))
        if " -S " not in example:
            assert re.split("[ @.]", example)[-1] in known
