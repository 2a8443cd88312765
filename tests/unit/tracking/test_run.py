"""Runs: live metrics, failed and killed stages, unreachable servers, concurrent stages. Most start real processes."""

import os
import signal
import time

import pytest

from synesthesia import tracking
from synesthesia.tracking import journal, mlflow_client
from synesthesia.tracking import run as run_module

pytestmark = pytest.mark.slow


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


@pytest.mark.parametrize("flush_seconds", [0.0, 60.0], ids=["live", "at the end"])
def test_live_metrics_and_the_finished_record_are_one_run(study, monkeypatch, flush_seconds):
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", flush_seconds)
    with tracking.start_run("distill", "a") as run:
        for step in range(30):
            run.log_metric("loss", 1 / (step + 1), step)
        assert len(study.runs()) == (flush_seconds == 0)
        history = [("loss", step, 1 / (step + 1)) for step in range(40)]  # ten of them from before a resume
        run.finish(tracking.Record("distill", "a", metrics={"final": 0.1}, history=history))
    (mlflow_run,) = study.runs()
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.data.metrics["final"] == 0.1
    steps = [m.step for m in study.client().get_metric_history(mlflow_run.info.run_id, "loss")]
    assert sorted(steps) == list(range(40))
    assert not journal.list_journals()


def test_running_a_stage_again_with_the_same_result_adds_no_run(study):
    for _ in range(2):
        with tracking.start_run("measure_gap") as run:
            run.finish(tracking.Record("measure_gap", metrics={"share": 0.8}))
    assert len(study.runs()) == 1


STAGE_THAT_HANGS = """
import os, time
from synesthesia import tracking
from synesthesia.tracking import run as run_module
run_module.FLUSH_SECONDS = {flush_seconds}
with tracking.start_run("distill", "a") as run:
    run.log_metric("loss", 2.0, 0)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("flush_seconds", [0.0, 60.0], ids=["after a flush", "before a flush"])
def test_a_killed_stage_leaves_a_failed_run_with_what_it_has_logged(study, start, flush_seconds):
    stage = start(STAGE_THAT_HANGS.format(flush_seconds=flush_seconds))
    pid = int(stage.stdout.readline())
    tracking.log_records([])
    assert [run.info.status for run in study.runs()] == (["RUNNING"] if flush_seconds == 0 else []), "it is alive"
    os.kill(pid, signal.SIGKILL)
    stage.wait()
    assert all(run.info.status != "FINISHED" for run in study.runs())
    tracking.log_records([])
    (run,) = study.runs()
    assert run.info.status == "FAILED"
    assert run.info.start_time <= run.info.end_time < time.time_ns() // 10**6
    assert run.data.metrics == {"loss": 2.0}
    assert run.data.tags["item"] == "a"
    assert "killed" in run.data.tags["failure"]
    tracking.log_records([])
    assert len(study.runs()) == 1
    assert not list((mlflow_client.TRACKING_DIR / "pending").iterdir())


def test_the_next_stage_enters_a_killed_one_whose_last_line_is_incomplete(study, start):
    stage = start(STAGE_THAT_HANGS.format(flush_seconds=60))
    os.kill(int(stage.stdout.readline()), signal.SIGKILL)
    stage.wait()
    (path,) = journal.list_journals()
    path.write_text(path.read_text() + '{"point": ["loss", 1, ')
    tracking.log_record(tracking.Record("measure_gap"))
    assert sorted((run.data.tags["stage"], run.info.status) for run in study.runs()) == [
        ("distill", "FAILED"),
        ("measure_gap", "FINISHED"),
    ]


@pytest.mark.parametrize("flush_seconds", [0.0, 60.0], ids=["after a flush", "before a flush"])
def test_an_error_in_a_stage_passes_through_and_is_named_in_the_run(study, monkeypatch, flush_seconds):
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", flush_seconds)
    with pytest.raises(ValueError, match="no such clip"), tracking.start_run("make_questions") as run:
        run.log_metric("loss", 1.0, 0)
        raise ValueError("no such clip")
    if flush_seconds:
        tracking.log_records([])
    (mlflow_run,) = study.runs()
    assert mlflow_run.info.status == "FAILED"
    assert mlflow_run.data.tags["failure"] == "ValueError: no such clip"


def test_a_record_with_a_missing_file_is_a_warning_and_a_failed_run(study, capfd):
    with tracking.start_run("measure_gap") as run:
        run.finish(tracking.Record("measure_gap", artifacts=["out/measure_gap/gap.parquet"]))
    warning = "warning: measure_gap is not in MLflow (FileNotFoundError: out/measure_gap/gap.parquet is missing)"
    assert warning in capfd.readouterr().err
    assert [run.info.status for run in study.runs()] == ["FAILED"]


def test_an_unreachable_server_costs_a_warning_and_nothing_else(study, start):
    stage = start(
        "from pathlib import Path\n"
        "from synesthesia import tracking\n"
        "with tracking.start_run('measure_gap') as run:\n"
        "    Path('out.txt').write_text('complete')\n"
        "    run.log_metric('loss', 1.0, 0)\n"
        "    run.finish(tracking.Record('measure_gap'))\n",
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    stderr = stage.communicate(timeout=120)[1]
    assert stage.returncode == 0
    assert (study.folder / "out.txt").read_text() == "complete"
    assert "warning: measure_gap is not in MLflow" in stderr
    assert "run `make log` later" in stderr
    assert "Traceback" not in stderr
    assert tracking.log_records([tracking.Record("measure_gap")]) == 1
    assert [run.info.status for run in study.runs()] == ["FINISHED"]


def test_concurrent_stages_are_all_logged_even_without_a_database(study, start):
    mlflow_client.DATABASE_PATH.unlink()
    script = (
        "from synesthesia import tracking\n"
        "with tracking.start_run('evaluate', '{0}') as run:\n"
        "    run.finish(tracking.Record('evaluate', '{0}', metrics={{'accuracy': 0.5}}))\n"
    )
    stages = [start(script.format(item)) for item in "abc"]
    for stage in stages:
        stderr = stage.communicate(timeout=120)[1]
        assert (stage.returncode, stderr) == (0, "")
    assert sorted(run.data.tags["item"] for run in study.runs()) == list("abc")
    assert len({run.info.experiment_id for run in study.runs()}) == 1


def test_switched_off_it_writes_nothing(study, monkeypatch):
    monkeypatch.setenv("SYNESTHESIA_TRACKING", "off")
    with tracking.start_run("measure_gap") as run:
        run.log_metric("loss", 1.0, 0)
        run.finish(tracking.Record("measure_gap"))
    assert not journal.list_journals()
    assert study.runs() == []


def test_a_stage_does_not_import_mlflow_before_it_finishes(study, start):
    stage = start(
        "import sys\n"
        "from synesthesia import tracking\n"
        "from synesthesia.pipeline import log_runs\n"
        "with tracking.start_run('measure_gap') as run:\n"
        "    run.log_metric('loss', 1.0, 0)\n"
        "    is_imported = 'mlflow' in sys.modules or 'torch' in sys.modules\n"
        "    run.finish(tracking.Record('measure_gap'))\n"
        "sys.exit(is_imported)\n"
    )
    assert stage.wait(timeout=60) == 0
    assert len(study.runs()) == 1


def test_a_folder_that_cannot_be_written_costs_a_warning_and_nothing_else(study, capfd):
    mlflow_client.TRACKING_DIR.rename("elsewhere")
    mlflow_client.TRACKING_DIR.write_text("not a folder")
    with tracking.start_run("measure_gap") as run:
        run.log_metric("loss", 1.0, 0)
        run.finish(tracking.Record("measure_gap"))
    assert "warning: measure_gap is not in MLflow (cannot write to" in capfd.readouterr().err
