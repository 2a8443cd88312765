"""Real stages on a small real world, killed with SIGKILL at random moments: run again, they end with the same outs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.helpers.stage_processes import Stages

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stages():
    with Stages() as started:
        yield started


def whole(stages: Stages, folder: Path, command: str) -> float:
    """Run to the end; seconds it took."""
    start = time.monotonic()
    stages.start(folder, *command.split())
    code, said = stages.end()
    assert code == 0, said[-2000:]
    return time.monotonic() - start


def bytes_of(folder: Path) -> dict[str, str]:
    files = [p for p in sorted((folder / "out").rglob("*")) if p.is_file() and ".partial" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def small(stages, tmp_path_factory) -> Path:
    """A world of twelve labels and a few clips, the shipped models, one distillation of a few steps."""
    folder = tmp_path_factory.mktemp("small")
    counts = "--train 5 --test 1 --multi-name 1 --audioset 6 --labels-per-group 4 --corrupt-fraction 0.03"
    whole(stages, folder, f"synesthesia.synthetic.generate --out data --workers 1 {counts}")
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["curate"] |= {"analysis_clips_per_label": 2, "clips_per_shard": 16}
    values["report"] |= {"bootstrap_samples": 100}
    values["switch"] |= {"epochs": 2, "validation_clips_per_label": 1}
    for model in values["models"].values():
        model["checkpoint"] = str(ROOT / model["checkpoint"])
        model["batch_clips"] = 4
    values["switch"]["checkpoint"] = str(ROOT / values["switch"]["checkpoint"])
    values["route"]["mode"] = "true_gap"
    values["models"] = {name: values["models"][name] for name in ("qwen2-audio", "qwen2-vl")}
    values["distill"]["settings"] = {"visual-to-audio": values["distill"]["settings"]["visual-to-audio"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


STAGES = [
    ("synesthesia.pipeline.curate", "out/curate"),
    ("synesthesia.pipeline.make_questions", None),
    ("synesthesia.pipeline.evaluate qwen2-audio", "out/evaluate/qwen2-audio"),
    ("synesthesia.pipeline.evaluate qwen2-vl", None),
    ("synesthesia.pipeline.measure_gap", None),
    ("synesthesia.pipeline.train_switch", "out/train_switch"),
    ("synesthesia.pipeline.route", None),
    ("synesthesia.pipeline.distill visual-to-audio", "out/distill/visual-to-audio"),
    ("synesthesia.pipeline.evaluate_students visual-to-audio", "out/evaluate_students/visual-to-audio"),
    ("synesthesia.pipeline.report", "out/report"),
]


def test_stages_killed_at_random_and_run_again_ends_with_the_outs_of_one_never_killed(stages, small):
    took = {stage: whole(stages, small, stage) for stage, _ in STAGES}
    expected = bytes_of(small)
    chance = random.Random(2026)
    for stage, out in STAGES:
        if out is None:  # a second's work, written at its end in one piece
            continue
        shutil.rmtree(small / out)  # as DVC does before a stage runs
        process = stages.start(small, *stage.split())
        time.sleep(chance.uniform(0, 1) * took[stage])
        with contextlib.suppress(ProcessLookupError):  # done already
            os.killpg(process, signal.SIGKILL)
        stages.end()
        whole(stages, small, stage)
        assert bytes_of(small) == expected, f"{stage} killed and run again wrote other outs"


def test_counts_of_the_small_world_add_up(stages, small):
    if not (small / "out/curate/counts.json").exists():  # the test above leaves what a whole run wrote
        whole(stages, small, "synesthesia.pipeline.curate")
    counts = json.loads((small / "out/curate/counts.json").read_text())
    for split in counts["splits"].values():
        assert 0 < split["usable"] <= split["files"]
