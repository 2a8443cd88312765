"""Records: pure data, with equal fingerprints for equal results."""

import pytest

from synesthesia.tracking import Record, RegisteredModel, flatten
from synesthesia.tracking.names import sanitize_name


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def sample(folder, **changes):
    (folder / "out/distill/a/adapter").mkdir(parents=True, exist_ok=True)
    (folder / "out/distill/a/adapter/weights.bin").write_bytes(b"\0" * 10)
    values = {
        "stage": "distill",
        "item": "a",
        "parameters": {"rank": 16},
        "metrics": {"loss": 1},
        "history": [("loss", 0, 2.0), ("loss", 1, 1.0)],
        "artifacts": ["out/distill/a/adapter"],
        "model": RegisteredModel("student-adapter", "out/distill/a/adapter", 0.5),
    }
    return Record(**values | changes)


def test_a_record_with_a_metric_that_is_nan_has_a_fingerprint(tmp_path):
    record = sample(tmp_path, metrics={"loss": float("nan")})
    assert record.fingerprint() == sample(tmp_path, metrics={"loss": float("nan")}).fingerprint()


def test_equal_results_have_the_same_fingerprint_in_any_folder(tmp_path, monkeypatch):
    expected = sample(tmp_path).fingerprint()
    elsewhere = tmp_path / "clone"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert sample(elsewhere).fingerprint() == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"rank": 8}},
        {"metrics": {"loss": 1.5}},
        {"history": [("loss", 0, 2.0)]},
        {"item": "b"},
        {"model": RegisteredModel("student-adapter", "out/distill/a/adapter", 0.6)},
        {"inputs": ["data"]},
    ],
)
def test_any_difference_changes_the_fingerprint(tmp_path, changes):
    assert sample(tmp_path, **changes).fingerprint() != sample(tmp_path).fingerprint()


def test_one_changed_byte_of_an_artifact_changes_the_fingerprint(tmp_path):
    record = sample(tmp_path)
    before = record.fingerprint()
    (tmp_path / "out/distill/a/adapter/weights.bin").write_bytes(b"\0" * 9 + b"\1")
    assert record.fingerprint() != before


def test_a_renamed_artifact_changes_the_fingerprint(tmp_path):
    record = sample(tmp_path)
    before = record.fingerprint()
    folder = tmp_path / "out/distill/a/adapter"
    (folder / "weights.bin").rename(folder / "other.bin")
    assert record.fingerprint() != before


@pytest.mark.parametrize(
    "text",
    ["step,loss,rate\n0,2.0,0.1\n1,1.0,\n", "name,step,value\nloss,0,2.0\nrate,0,0.1\nloss,1,1.0\n"],
    ids=["a column per metric", "a row per value"],
)
def test_history_is_read_from_both_layouts_of_csv(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    points = Record("train_switch", history=tmp_path / "history.csv").read_history()
    assert points == [("loss", 0, 2.0), ("rate", 0, 0.1), ("loss", 1, 1.0)]


@pytest.mark.parametrize("value", [None, "0.5", True, [1.0]])
def test_a_metric_that_is_not_a_number_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"measure_gap: metric share must be a number"):
        Record("measure_gap", metrics={"share": value})


def test_artifacts_keep_their_path_below_the_stage_folder():
    record = Record("report")
    assert record.artifact_path("out/report/figures") == "figures"
    assert record.artifact_path("out/report/tables/table1.csv") == "tables/table1.csv"
    assert record.artifact_path("out/report") == "report"
    assert record.artifact_path("elsewhere/a.csv") == "a.csv"


def test_nested_parameters_become_flat_names():
    assert flatten({"lora": {"rank": 16}, "splits": ["a", "b"], "seed": 0}, "distill") == {
        "distill.lora.rank": 16,
        "distill.splits": "a, b",
        "distill.seed": 0,
    }


def test_labels_become_names_that_mlflow_accepts():
    assert sanitize_name("accuracy/people's café (noise), loud") == "accuracy/people_s caf_ _noise__ loud"
