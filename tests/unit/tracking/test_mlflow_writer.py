"""Records in a real SQLite MLflow, entered in this process as `make log` does."""

import pytest

from synesthesia import tracking
from synesthesia.tracking import Record, mlflow_writer, provenance

pytestmark = pytest.mark.slow


def entered(*records):
    return tracking.log_records(records)


def test_a_run_holds_parameters_metrics_history_and_artifacts(study):
    study.write("out/report/figures/figure1.svg", b"<svg/>")
    history = [("loss", step, 1.0 / (step + 1)) for step in range(2500)]
    entered(Record("report", None, {"a.b": "x"}, {"accuracy": 0.7, "loss": 0.5}, history, ["out/report/figures"]))
    (run,) = study.runs()
    client = study.client()
    assert run.info.run_name == "report"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a.b": "x"}
    assert run.data.metrics["accuracy"] == 0.7
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(set(steps)) == list(range(2500))
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/figure1.svg"]


def test_logging_twice_makes_no_second_run(study):
    record = Record("gap", metrics={"share": 0.8})
    assert entered(record, record) == 1
    assert entered(record) == 0
    assert len(study.runs()) == 1


def test_a_changed_artifact_makes_a_second_run(study):
    record = Record("gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    entered(record)
    study.write("out/measure_gap/gap.parquet", b"2")
    assert entered(record) == 1
    assert len(study.runs()) == 2


def test_items_have_runs_of_their_own(study):
    entered(Record("answer", "qwen2-audio"), Record("answer", "qwen2-vl"))
    assert {run.info.run_name for run in study.runs()} == {"evaluate@qwen2-audio", "evaluate@qwen2-vl"}


def test_each_size_has_an_experiment(study):
    entered(Record("gap"))
    study.write("params.yaml", b"preset: paper\n")
    entered(Record("gap"))
    names = {study.client().get_experiment(run.info.experiment_id).name for run in study.runs()}
    assert names == {"synesthesia-embedded", "synesthesia-paper"}


def test_artifacts_stay_inside_mlruns(study):
    entered(Record("gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")]))
    assert list((study.folder / "mlruns/artifacts").rglob("gap.parquet"))


def test_a_missing_artifact_is_named_and_nothing_counts_as_logged(study):
    with pytest.raises(tracking.TrackingError, match=r"out/measure_gap/gap\.parquet is missing"):
        entered(Record("gap", artifacts=["out/measure_gap/gap.parquet"]))
    study.write("out/measure_gap/gap.parquet", b"1")
    assert entered(Record("gap", artifacts=["out/measure_gap/gap.parquet"])) == 1


def test_a_record_written_by_half_is_failed_and_written_again_later(study, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    record = Record("gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_writer.RunWriter, "_upload", broken)
        with pytest.raises(tracking.TrackingError, match="disk full"):
            entered(record)
    assert [run.info.status for run in study.runs()] == ["FAILED"]
    assert entered(record) == 1
    assert sorted(run.info.status for run in study.runs()) == ["FAILED", "FINISHED"]


LOCK = """
schema: '2.0'
stages:
  ask:
    outs: [{path: out/make_questions/questions.parquet, md5: aaa}]
  gap:
    deps: [{path: data, md5: old.dir}, {path: out/make_questions/questions.parquet, md5: stale}]
    outs: [{path: out/measure_gap/gap.parquet, md5: bbb}]
"""


def test_inputs_carry_the_version_of_the_stage_that_made_them(study):
    study.write("dvc.lock", LOCK.encode())
    study.write("data.dvc", b"outs: [{path: data, md5: new.dir}]")
    tags = provenance.data_tags("gap", ["data", "out/make_questions/questions.parquet", "unknown"], finalized=False)
    assert tags == {"data.data": "new.dir", "data.out/make_questions/questions.parquet": "aaa"}
    assert provenance.data_tags("gap", ["out/make_questions"], finalized=False) == {"data.out/make_questions/questions.parquet": "aaa"}


def test_outs_carry_their_version_once_dvc_has_written_its_lock(study):
    record = Record("gap", artifacts=[study.write("out/measure_gap/gap.parquet", b"1")])
    entered(record)
    study.write("dvc.lock", LOCK.encode())
    assert entered(record) == 0
    (run,) = study.runs()
    assert run.data.tags["out.out/measure_gap/gap.parquet"] == "bbb"
    assert "provenance/dvc.lock" in [a.path for a in study.client().list_artifacts(run.info.run_id, "provenance")]


def test_comments_in_params_do_not_change_their_fingerprint(study):
    before = provenance.params_tags()
    study.write("params.yaml", b"# a comment\npreset: embedded\n")
    assert provenance.params_tags() == before
    study.write("params.yaml", b"preset: paper\n")
    assert provenance.params_tags() != before
