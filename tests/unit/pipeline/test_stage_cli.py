"""Command line of the stages; needs no torch."""

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

ITEM_KINDS = {"evaluate": "model", "evaluate_students": "setting", "distill": "setting"}


def run_stage_process(name, *arguments):
    command = [sys.executable, "-m", f"synesthesia.pipeline.{name}", "--params", str(PARAMS)]
    env = {**os.environ, "SYNESTHESIA_DEVICE": "cpu"}  # counting GPUs imports torch
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=env)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_unknown_item_error_is_one_sentence_with_the_available_ones():
    result = run_stage_process("evaluate", "nonsense")
    assert result.returncode == 1
    sentence = "evaluate: no model 'nonsense' in the parameters; available: qwen2-audio, qwen2-vl, qwen2-5-omni\n"
    assert (result.stdout, result.stderr) == ("", sentence)
    assert not list(Path().iterdir())


def run_stage(name, *arguments):
    """Run the `main` of a stage in this process; return its exit code."""
    module = importlib.import_module(f"synesthesia.pipeline.{name}")
    with pytest.raises(SystemExit) as error:
        stage_cli.main(module.run, module.__doc__, item_kind=ITEM_KINDS.get(name), argv=[*map(str, arguments)])
    return error.value.code


@pytest.mark.parametrize("name", ["evaluate_students", "distill"])
def test_unknown_setting_error_lists_the_available_ones(name, capsys):
    assert run_stage(name, "nonsense", "--params", PARAMS) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"{name}: no setting 'nonsense' in the parameters; available: visual-to-audio, ")


def test_mistyped_item_error_suggests_the_closest_one():
    with pytest.raises(
        stage_cli.UnknownItemError, match="no model 'qwen2-vI' in the parameters; did you mean 'qwen2-vl'"
    ):
        stage_cli.get_item({"qwen2-vl": 1, "qwen2-audio": 2}, "qwen2-vI", "model")


@pytest.mark.parametrize("name, item", [("route", []), ("distill", ["visual-to-audio"])])
def test_missing_table_error_says_what_to_run(name, item, capsys):
    assert run_stage(name, *item, "--params", PARAMS) == 1
    assert capsys.readouterr().err == (
        f"{name}: out/curate/clips.parquet is missing: run `dvc repro` (or the stage that writes it) first\n"
    )


@pytest.mark.parametrize("name", [*ITEM_KINDS, "route", "train_switch"])
def test_help_examples_are_valid(name, capsys):
    assert run_stage(name, "--help") == 0
    text = capsys.readouterr().out.split("\nExamples:\n")[1].split("\n\n")[0]
    config = embedded()
    known = {"model": config.models, "setting": config.distill.settings}.get(ITEM_KINDS.get(name), {name: 1})
    examples = [line.strip() for line in text.splitlines()]
    assert len(examples) >= 2
    for example in examples:
        assert example.startswith((f"python -m synesthesia.pipeline.{name}", "dvc "))
        if " -S " not in example:
            assert re.split("[ @.]", example)[-1] in known
