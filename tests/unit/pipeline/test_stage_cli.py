"""Stages on the command line, their items, and the switch's clips. Needs no torch."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synesthesia import schemas
from synesthesia.pipeline import stage_cli
from synesthesia.pipeline import train_switch as stage
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


def write_world(counts, gap=None):
    """clips.parquet and gap.parquet of labels -> number of analysis clips, three finetune and test clips each."""
    clips = []
    for label, analysis in counts.items():
        for split, count in (("analysis", analysis), ("finetune", 3), ("test", 1)):
            for i in range(count):
                clip = {"clip_id": f"{label}-{split}{i:02d}_000000", "video_id": f"{label}-{split}{i:02d}"}
                clips.append(clip | {"dataset": "vggsound", "labels": [label], "split": split, "shard": 0, "row": 0})
    alien = {"clip_id": "x_000000", "video_id": "x", "dataset": "audioset", "labels": ["cat", "y"], "split": "unseen"}
    clips.append(alien | {"shard": 0, "row": 0})
    schemas.write(schemas.from_rows(clips, schemas.CLIP, "clips"), "out/curate/clips.parquet", schemas.CLIP)
    rows = [
        {"label": x, "clips": n, "audio_accuracy": 0.5, "visual_accuracy": 0.6, "visual_better": x < "d"}
        for x, n in counts.items()
        if n
    ]
    schemas.write(schemas.from_rows(rows, schemas.GAP, "gap"), "out/gap/gap.parquet", schemas.GAP)


def parts(**changes):
    """clip_id -> part."""
    given = embedded()
    given = given.model_copy(update={"switch": given.train_switch.model_copy(update=changes)})
    rows = stage.load_clips_with_targets(given)
    assert all(r["target"] == (r["label"] < "d") for r in rows)
    return {r["clip_id"]: r["part"] for r in rows}


def test_each_label_gives_as_many_clips_to_validation_but_never_all():
    write_world({"cat": 9, "dog": 2, "eel": 1})
    found = parts(validation_clips_a_label=2)
    held = [sum(p == "validation" and c.startswith(x) for c, p in found.items()) for x in ("cat", "dog", "eel")]
    assert held == [2, 1, 0]
    assert {c for c, p in found.items() if p == "finetune"} == {f"{x}-finetune{i:02d}_000000" for x in
                                                               ("cat", "dog", "eel") for i in range(3)}  # fmt: skip
    assert not [c for c in found if "test" in c or c.startswith("x_")]


def test_a_label_without_analysis_clips_is_left_out():
    write_world({"cat": 4, "owl": 0})
    assert not [c for c in parts() if c.startswith("owl")]


def test_the_split_is_the_same_again_and_another_with_another_seed():
    write_world({"cat": 9, "dog": 9})
    assert parts() == parts()
    assert parts(seed=0) != parts(seed=1)


def test_a_clips_part_changes_only_to_take_the_place_of_one_that_vanished():
    write_world({"cat": 9, "dog": 9})
    before = parts(validation_clips_a_label=3)
    write_world({"cat": 7, "dog": 9})  # the last two cats are gone
    after = parts(validation_clips_a_label=3)
    assert {c: p for c, p in before.items() if not c.startswith("cat")} == {
        c: p for c, p in after.items() if not c.startswith("cat")
    }
    lost = sum(p == "validation" for c, p in before.items() if c not in after)
    moved = {c for c in after if before[c] != after[c]}
    assert len(moved) == lost
    assert all((before[c], after[c]) == ("train", "validation") for c in moved)


def test_scores_by_hand():
    said, target = np.array([1, 1, 0, 0, 1], bool), np.array([1, 1, 1, 0, 0], bool)
    found = stage.compute_scores(said, target)
    expected = {"accuracy": 3 / 5, "balanced_accuracy": (2 / 3 + 1 / 2) / 2}
    assert found == pytest.approx(expected | {"always_one_accuracy": 3 / 5, "closed_share": 3 / 5})
    assert stage.compute_scores(np.ones(5, bool), target)["balanced_accuracy"] == 0.5
    assert stage.compute_scores(said[:2], target[:2])["balanced_accuracy"] == 1
    assert stage.compute_scores(said[:0], target[:0]) == {}
