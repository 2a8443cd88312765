"""Real stages on a small dataset, killed with SIGKILL at random times: a rerun ends with the same outputs."""

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

from tests.helpers.stage_processes import StageRunner

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stages():
    with StageRunner() as runner:
        yield runner


def run_stage(stages: StageRunner, folder: Path, command: str) -> float:
    """Run a stage to its end; return its duration in seconds."""
    start = time.monotonic()
    stages.start(folder, *command.split())
    code, stderr = stages.wait()
    assert code == 0, stderr[-2000:]
    return time.monotonic() - start


def hash_outputs(folder: Path) -> dict[str, str]:
    files = [p for p in sorted((folder / "out").rglob("*")) if p.is_file() and ".partial" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def small_study(stages, tmp_path_factory) -> Path:
    """Create a study of twelve labels and few clips, the shipped models, and one distillation of a few steps."""
    folder = tmp_path_factory.mktemp("small_study")
    counts = "--train 5 --test 1 --multi-name 1 --audioset 6 --labels-per-group 4 --corrupt-fraction 0.03"
    run_stage(stages, folder, f"synesthesia.synthetic.generate --out data --workers 1 {counts}")
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["curate"] |= {"analysis_clips_per_label": 2, "clips_per_shard": 16, "display_names": {}}
    values["report"] |= {"bootstrap_samples": 100}
    values["train_switch"] |= {"epochs": 2, "validation_clips_per_label": 1}
    for model in values["models"].values():
        model["checkpoint"] = str(ROOT / model["checkpoint"])
        model["batch_size"] = 4
    values["train_switch"]["checkpoint"] = str(ROOT / values["train_switch"]["checkpoint"])
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
    ("synesthesia.pipeline.report", None),
]


def test_killed_and_rerun_stages_write_the_same_outputs(stages, small_study):
    durations = {stage: run_stage(stages, small_study, stage) for stage, _ in STAGES}
    expected = hash_outputs(small_study)
    rng = random.Random(2026)
    for stage, out in STAGES:
        if out is None:  # writes its outputs at the end
            continue
        shutil.rmtree(small_study / out)  # DVC does the same before a stage runs
        process_id = stages.start(small_study, *stage.split())
        time.sleep(rng.uniform(0, 1) * durations[stage])
        with contextlib.suppress(ProcessLookupError):  # already finished
            os.killpg(process_id, signal.SIGKILL)
        stages.wait()
        run_stage(stages, small_study, stage)
        assert hash_outputs(small_study) == expected, f"{stage}, killed and rerun, wrote other outputs"


def test_clip_counts_add_up(stages, small_study):
    if not (small_study / "out/curate/counts.json").exists():  # the test above leaves complete outputs
        run_stage(stages, small_study, "synesthesia.pipeline.curate")
    counts = json.loads((small_study / "out/curate/counts.json").read_text())
    for split in counts["splits"].values():
        assert 0 < split["usable"] <= split["files"]
