"""The sidecar: live metrics, killed stages, broken servers, several stages at once. Each starts real processes."""

import os
import signal
import sys
import time

import pytest

from synesthesia import tracking
from synesthesia.tracking import mlflow_client

pytestmark = pytest.mark.slow
served = pytest.mark.usefixtures("served")


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@served
def test_live_metrics_and_the_finished_record_are_one_run(study):
    with tracking.start_run("distill", "a") as session:
        for step in range(30):
            session.log_metric("loss", 1 / (step + 1), step)
        history = [("loss", step, 1 / (step + 1)) for step in range(40)]  # ten of them from before a resume
        session.finish(tracking.Record("distill", "a", metrics={"final": 0.1}, history=history))
    (run,) = study.runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["final"] == 0.1
    steps = [m.step for m in study.client().get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == list(range(40))


@served
def test_running_a_stage_again_with_the_same_result_adds_no_run(study):
    for _ in range(2):
        with tracking.start_run("gap") as session:
            session.finish(tracking.Record("gap", metrics={"share": 0.8}))
    assert len(study.runs()) == 1


@pytest.mark.parametrize(
    "served", [(), (sys.executable, "-m", "synesthesia.utils.preload_server")], ids=["alone", "served"]
)
def test_a_killed_stage_leaves_a_failed_run_with_what_it_had_said(study, start, served):
    stage = start(
        "import os, time\n"
        "from synesthesia import tracking\n"
        "print(os.getpid(), flush=True)\n"
        "with tracking.session('distill', 'a') as session:\n"
        "    session.metric('loss', 2.0, 0)\n"
        "    time.sleep(600)\n",
        *served,
    )
    until(lambda: any(run.data.metrics for run in study.runs()))
    os.kill(int(stage.stdout.readline()), signal.SIGKILL)
    until(lambda: study.runs()[0].info.status == "FAILED")
    (run,) = study.runs()
    assert run.data.metrics == {"loss": 2.0}
    assert "killed" in run.data.tags["failure"]


@served
def test_an_error_in_a_stage_passes_through_and_is_named_in_the_run(study):
    with pytest.raises(ValueError, match="no such clip"), tracking.start_run("ask"):
        raise ValueError("no such clip")
    (run,) = study.runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "ValueError: no such clip"


@served
def test_a_record_with_a_missing_file_is_a_warning_and_a_failed_run(study, capfd):
    with tracking.start_run("gap") as session:
        session.finish(tracking.Record("gap", artifacts=["out/measure_gap/gap.parquet"]))
    assert "warning: gap is not in MLflow (FileNotFoundError: out/measure_gap/gap.parquet is missing)" in capfd.readouterr().err
    assert [run.info.status for run in study.runs()] == ["FAILED"]


@served
def test_a_broken_server_costs_a_warning_and_nothing_else(study, start):
    stage = start(
        "from pathlib import Path\n"
        "from synesthesia import tracking\n"
        "with tracking.session('gap') as session:\n"
        "    Path('out.txt').write_text('whole')\n"
        "    session.metric('loss', 1.0, 0)\n"
        "    session.finish(tracking.Record('gap'))\n",
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    said = stage.communicate(timeout=120)[1]
    assert stage.returncode == 0
    assert (study.folder / "out.txt").read_text() == "whole"
    assert "warning: gap is not in MLflow" in said
    assert "run `make log` later" in said
    assert "Traceback" not in said
    assert tracking.log_records([tracking.Record("gap")]) == 1


@served
def test_stages_that_log_at_once_all_arrive_even_into_no_database(study, start):
    mlflow_client.DATABASE_PATH.unlink()
    script = (
        "from synesthesia import tracking\n"
        "with tracking.session('answer', '{0}') as session:\n"
        "    session.finish(tracking.Record('answer', '{0}', metrics={{'accuracy': 0.5}}))\n"
    )
    stages = [start(script.format(item)) for item in "abc"]
    for stage in stages:
        said = stage.communicate(timeout=120)[1]
        assert (stage.returncode, said) == (0, "")
    assert sorted(run.data.tags["item"] for run in study.runs()) == list("abc")
    assert len({run.info.experiment_id for run in study.runs()}) == 1


def test_switched_off_it_starts_nothing(study, monkeypatch):
    monkeypatch.setenv("SYNESTHESIA_TRACKING", "off")
    with tracking.start_run("gap") as session:
        session.log_metric("loss", 1.0, 0)
        session.finish(tracking.Record("gap"))
    assert study.runs() == []


def test_a_stage_does_not_import_mlflow_itself(study, start):
    stage = start(
        "import sys\n"
        "from synesthesia import tracking\n"
        "from synesthesia.pipeline import log\n"
        "sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)\n"
    )
    assert stage.wait(timeout=60) == 0
