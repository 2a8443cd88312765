"""Names in any script and of any length, and project folders of any name."""

import shutil
from pathlib import Path

import pytest

from synesthesia import tracking
from synesthesia.tracking import Record, RegisteredModel, journal, mlflow_client, names
from synesthesia.tracking.journal import PendingRun
from synesthesia.tracking.provenance import Snapshot

pytestmark = pytest.mark.slow

NAMES = [
    *(
        "日本語",
        "中国語",
        "مرحبا",
        "שלום",
        "😀",
        "😀😀",
        "é" * 300,
        "x" * 300,
        "x" * 299 + "y",
        "a/b",
        "a:b",
        "a,b",
        "a(b",
    ),
    *("/m/0abc", "a//b", "..", ".", "../x", "it's", 'a "b"', "a\\b", "a`b", "line\nbreak", "nul\0", "100%", "", " "),
]
MODEL_NAMES = ["日本語", "😀", "x" * 300, "x" * 299 + "y", "a/b", "a:b", "..", "it's", 'a "b"', "a--b; c", " "]


def test_parameters_metrics_and_tags_of_any_name_are_logged_and_stay_apart(study):
    values = {name: 10.0 + number for number, name in enumerate(NAMES)}
    history = [(name, step, float(step)) for name in NAMES for step in range(2)]
    tracking.log_records([Record("measure_gap", None, values, values, history)])
    (run,) = study.runs()
    assert run.info.status == "FINISHED"
    assert sorted(run.data.params.values(), key=float) == [str(value) for value in values.values()]
    assert sorted(run.data.metrics.values()) == list(values.values())


def test_names_that_mlflow_accepts_stay_as_they_are():
    for name in ("accuracy/label 3", "lora.rank", "a: b-c_d", "x" * 250):
        assert names.sanitize_name(name) == names.shorten_name(name) == name
    assert names.registered_name("qwen2-audio-adapter") == "qwen2-audio-adapter"
    assert names.registered_name("日本語") == "日本語"
    assert names.sanitize_names(["a_b", "a,b", "loss"])["a_b"] == "a_b"


@pytest.mark.parametrize("make", [names.sanitize_name, names.registered_name, names.file_name])
def test_a_name_made_twice_is_the_same(make):
    assert [make(make(name)) for name in NAMES] == [make(name) for name in NAMES]


def test_file_names_fit_in_any_file_system():
    made = [names.file_name(name) for name in NAMES]
    assert max(len(name.encode()) for name in made) <= 120
    assert not any({"/", "\0"} & set(name) for name in made)
    assert names.file_name("日" * 300) != names.file_name("日" * 299)


@pytest.mark.parametrize("item", ["日本語" * 100, "😀" * 300, "x" * 300, "a/b:c", "مرحبا", "it's 100%#?", "nul\0"])
def test_an_item_of_any_name_has_its_run_and_its_journal(study, item):
    pending = journal.Journal(PendingRun("evaluate", item, Snapshot("embedded")))
    assert [path.parent.name for path in journal.list_journals()] == ["pending"]
    pending.close(delete=False)
    tracking.log_records([Record("evaluate", item, metrics={"accuracy": 0.5})])
    failed, finished = sorted(study.runs(), key=lambda run: run.info.status)
    assert (failed.info.status, finished.info.status) == ("FAILED", "FINISHED")
    assert failed.info.run_name == finished.info.run_name
    assert len(finished.info.run_name) <= 250 and finished.info.run_name.startswith(f"evaluate@{item[:3]}")


def test_runs_of_long_items_that_differ_at_the_end_have_different_names(study):
    tracking.log_records([Record("evaluate", "x" * 300 + end) for end in "ab"])
    assert len({run.info.run_name for run in study.runs()}) == 2


def test_models_of_any_name_are_registered_apart_and_fetched_by_it(study):
    records = []
    for number, name in enumerate(MODEL_NAMES):
        folder = f"out/distill/{number}/adapter"
        study.write(f"{folder}/weights.bin", str(number).encode())
        records.append(Record("distill", str(number), model=RegisteredModel(name, folder, 0.5)))
    tracking.log_records(records)
    assert len(study.client().search_registered_models()) == len(MODEL_NAMES)
    for number, name in enumerate(MODEL_NAMES):
        assert (tracking.fetch_model(name) / "weights.bin").read_text() == str(number)
        shown = names.registered_name(name)  # the name that MLflow's pages show
        assert tracking.fetch_model(shown) == tracking.fetch_model(name)


def test_artifacts_of_equal_names_are_both_kept(study):
    paths = [study.write("elsewhere/a.csv", b"1"), study.write("other/a.csv", b"2")]
    paths.append(study.write("out/evaluate/日本語/日本 100%#?.csv", b"3"))
    tracking.log_records([Record("evaluate", "日本語", artifacts=paths)])
    (run,) = study.runs()
    root = next(Path("mlruns/artifacts").glob(f"**/{run.info.run_id}/artifacts"))
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.csv")}
    assert found == {"elsewhere/a.csv": "1", "other/a.csv": "2", "日本 100%#?.csv": "3"}


@pytest.mark.parametrize(
    "folder", ["a b", "what?", "no. #1", "100%", "a%20b", "a%2Fb", "日本語 😀", "x=1&y?z=2", "it's; a@b:c"]
)
def test_a_project_folder_of_any_name_holds_its_own_database_and_models(study, empty_database, monkeypatch, folder):
    project = study.folder / "projects" / folder
    (project / "mlruns").mkdir(parents=True)
    monkeypatch.chdir(project)
    shutil.copy(empty_database, mlflow_client.DATABASE_PATH)
    study.write("out/distill/日本#1/adapter/weights.bin", b"1")
    model = RegisteredModel("m", "out/distill/日本#1/adapter", 0.5)
    tracking.log_records([Record("report", artifacts=["out/distill/日本#1"], model=model)])
    assert len(study.runs()) == 1
    assert (tracking.fetch_model("m") / "weights.bin").read_bytes() == b"1"
    assert [path.name for path in (study.folder / "projects").iterdir()] == [folder]
    assert b"weights" not in empty_database.read_bytes()
