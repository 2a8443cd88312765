"""Records in a SQLite database of MLflow, logged as `make log` does."""

import pytest

from synesthesia import tracking
from synesthesia.tracking import Record, mlflow_writer, provenance

pytestmark = pytest.mark.slow


def log(*records):
    return tracking.log_records(records)


def test_a_run_holds_parameters_metrics_history_and_artifacts(study):
    study.write("out/report/figures/figure1.svg", b"<svg/>")
    history = [("loss", step, 1.0 / (step + 1)) for step in range(2500)]
    log(Record("report", None, {"a.b": "x"}, {"accuracy": 0.7, "loss": 0.5}, history, ["out/report/figures"]))
    (run,) = study.runs()
    client = study.client()
    assert run.info.run_name == "report"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a.b": "x"}
    assert run.data.metrics["accuracy"] == 0.7
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(set(steps)) == list(range(2500))
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/figure1.svg"]


def test_logging_twice_adds_no_second_run(study):
    record = Record("measure_gap", metrics={"share": 0.8})
    assert log(record, record) == 1
    assert log(record) == 0
    assert len(study.runs()) == 1


def test_a_changed_artifact_adds_a_second_run(study):
    record = Record("measure_gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    log(record)
    study.write("out/measure_gap/gap.parquet", b"2")
    assert log(record) == 1
    assert len(study.runs()) == 2


def test_each_item_has_its_own_run(study):
    log(Record("evaluate", "qwen2-audio"), Record("evaluate", "qwen2-vl"))
    assert {run.info.run_name for run in study.runs()} == {"evaluate@qwen2-audio", "evaluate@qwen2-vl"}


def test_each_preset_has_its_own_experiment(study):
    log(Record("measure_gap"))
    study.write("params.yaml", b"preset: paper\n")
    log(Record("measure_gap"))
    names = {study.client().get_experiment(run.info.experiment_id).name for run in study.runs()}
    assert names == {"synesthesia-embedded", "synesthesia-paper"}


def test_artifacts_stay_inside_mlruns(study):
    log(Record("measure_gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")]))
    assert list((study.folder / "mlruns/artifacts").rglob("gap.parquet"))


def test_a_missing_artifact_is_named_and_nothing_counts_as_logged(study):
    with pytest.raises(tracking.TrackingError, match=r"out/measure_gap/gap\.parquet is missing"):
        log(Record("measure_gap", artifacts=["out/measure_gap/gap.parquet"]))
    study.write("out/measure_gap/gap.parquet", b"1")
    assert log(Record("measure_gap", artifacts=["out/measure_gap/gap.parquet"])) == 1


def test_a_partially_written_record_is_failed_and_logged_again_later(study, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    record = Record("measure_gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_writer.RunWriter, "_log_artifact", fail)
        with pytest.raises(tracking.TrackingError, match="disk full"):
            log(record)
    assert [run.info.status for run in study.runs()] == ["FAILED"]
    assert log(record) == 1
    assert sorted(run.info.status for run in study.runs()) == ["FAILED", "FINISHED"]


LOCK = """
schema: '2.0'
stages:
  make_questions:
    outs: [{path: out/make_questions/questions.parquet, md5: aaa}]
  measure_gap:
    deps: [{path: data, md5: old.dir}, {path: out/make_questions/questions.parquet, md5: stale}]
    outs: [{path: out/measure_gap/gap.parquet, md5: bbb}]
"""


def test_inputs_have_the_version_of_the_stage_that_wrote_them(study):
    study.write("dvc.lock", LOCK.encode())
    study.write("data.dvc", b"outs: [{path: data, md5: new.dir}]")
    tags = provenance.data_tags(
        "measure_gap", ["data", "out/make_questions/questions.parquet", "unknown"], finalized=False
    )
    assert tags == {"data.data": "new.dir", "data.out/make_questions/questions.parquet": "aaa"}
    assert provenance.data_tags("measure_gap", ["out/make_questions"], finalized=False) == {
        "data.out/make_questions/questions.parquet": "aaa"
    }


def test_outputs_have_their_version_once_dvc_has_written_its_lock(study):
    record = Record("measure_gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    log(record)
    study.write("dvc.lock", LOCK.encode())
    assert log(record) == 0
    (run,) = study.runs()
    assert run.data.tags["out.out/measure_gap/gap.parquet"] == "bbb"
    assert "provenance/dvc.lock" in [a.path for a in study.client().list_artifacts(run.info.run_id, "provenance")]


def test_comments_in_params_do_not_change_their_fingerprint(study):
    before = provenance.params_tags()
    study.write("params.yaml", b"# a comment\npreset: embedded\n")
    assert provenance.params_tags() == before
    study.write("params.yaml", b"preset: paper\n")
    assert provenance.params_tags() != before
