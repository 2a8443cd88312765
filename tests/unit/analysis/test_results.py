"""Studies with pieces missing: the report says so in words, and neither crashes nor prints nan."""

import json
import re
import shutil

import pandas as pd
import pytest

from synesthesia import schemas
from synesthesia.analysis import results as studies
from synesthesia.analysis import tables
from synesthesia.analysis.figures import paper
from synesthesia.pipeline import report
from tests.helpers.study_outputs import Maker, parameters

pytestmark = pytest.mark.slow  # real files and figures: seconds each


def told(maker, monkeypatch):
    """The page's text and the metrics of a study."""
    monkeypatch.chdir(maker.out.parent)
    monkeypatch.setattr(paper, "save", lambda figure, name, form: name.encode())  # drawn and laid out, not written
    report.run(maker.params)
    page = re.sub(r'src="[^"]*"', "", (maker.out / "report/index.html").read_text())
    assert not re.search(r"\b(nan|None|inf)\b", page)
    return page, json.loads((maker.out / "report/metrics.json").read_text())


def without(given, **changed):
    settings = {k: s for k, s in given.distill.settings.items() if s.labels not in changed.get("labels", ())}
    return given.model_copy(update={"distill": given.distill.model_copy(update={"settings": settings})})


def test_clips_and_questions_alone_make_a_report_of_what_is_missing(tmp_path, monkeypatch):
    maker = Maker(tmp_path / "out", parameters(), labels=2, clips=2, unseen=1)
    maker.write_clips()
    (maker.out / "curate/counts.json").write_text("not json")
    page, metrics = told(maker, monkeypatch)
    assert "No respondent has answered yet." in page
    assert page.count("cannot be said") == 8
    assert "gap.parquet is missing" in page
    assert "is not JSON" in page
    assert metrics == {"unparseable": {"all": 0.0}}


def test_one_label_and_a_switch_with_one_answer_are_said_in_words(tmp_path, monkeypatch):
    maker = Maker(tmp_path / "out", parameters(), labels=1, clips=4, unseen=1)
    maker.knows["audio"] = dict.fromkeys(maker.labels + maker.unseen, 0.0)
    maker.write()
    page, metrics = told(maker, monkeypatch)
    assert "all finetune clips have the same true answer" in page
    assert "balanced_accuracy" not in metrics["switch"]
    assert "know 1 of 1 labels" in page


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """A study without humans, unseen clips and the ground truth's setting, some files of which are lost; `told`."""
    maker = Maker(tmp_path_factory.mktemp("lacking") / "out", without(parameters(), labels=("ground_truth",)), labels=3,
                  clips=4, unseen=0)  # fmt: skip
    maker.write()
    for name in maker.params.import_answers.respondents:  # as the stage leaves them where the CSV has a header only
        (maker.out / "evaluate" / name).mkdir(parents=True)
    (maker.out / "evaluate/qwen2-5-omni/test.parquet").unlink()
    (maker.out / "evaluate_students/visual-to-audio/test.parquet").write_bytes(b"broken")
    (maker.out / "train_switch/history.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        return maker.out, *told(maker, patch)


def test_no_unseen_clips_no_ground_truth_and_an_absent_answer_file(lacking):
    _, page, metrics = lacking
    assert "No question belongs to the unseen split" in page
    assert "the parameters have no such setting" in page
    assert "qwen2-5-omni/test.parquet is missing" in page
    assert "test.parquet is not a table of this project" in page
    assert "recovered_share_of_ground_truth" not in metrics
    assert set(metrics["student_minus_teacher"]) == {"analysis"}
    assert "unseen" not in metrics


@pytest.fixture
def loaded(maker, tmp_path):
    """A copy of the made-up study to spoil."""
    shutil.copytree(maker.out, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    return tmp_path / "out"


def spoil(path, change):
    frame = pd.DataFrame(schemas.read(path, schemas.ANSWER).to_pylist()).astype({"choice": object})
    frame["choice"] = frame["choice"].where(frame["choice"].notna(), None)
    schemas.write(schemas.from_rows(change(frame).to_dict("records"), schemas.ANSWER, "x"), path, schemas.ANSWER)


def test_missing_and_foreign_answers_are_counted_in_a_note(maker, loaded):
    path = loaded / "evaluate/qwen2-vl/analysis.parquet"
    spoil(path, lambda f: f.iloc[3:].assign(question_id=["nobody asked", *f["question_id"].iloc[4:]]))
    study = studies.load_results(maker.params, loaded)
    assert any("1 answers to questions not in analysis" in note for note in study.notes)
    assert any("only 68 of 72 questions" in note for note in study.notes)
    assert len(study.pair_answers("analysis", "qwen2-audio", "qwen2-vl")) == 68


def test_answers_of_somebody_else_are_not_taken_for_the_models(maker, loaded):
    spoil(loaded / "evaluate/qwen2-vl/analysis.parquet", lambda f: f.assign(respondent="impostor"))
    study = studies.load_results(maker.params, loaded)
    assert study.get_answers("qwen2-vl", "analysis").empty
    assert any("'impostor'" in note for note in study.notes)


def test_humans_who_judged_some_clips_only_are_no_note_but_a_file_that_lacks_answers_is(maker, loaded):
    path = loaded / "evaluate/human-ears/analysis.parquet"
    spoil(path, lambda f: f.iloc[:30])
    assert not any("human-ears" in note for note in studies.load_results(maker.params, loaded).notes)
    people = maker.params.import_answers.respondents
    other = {**people, "human-ears": people["human-ears"].model_copy(update={"human": False})}
    collect = maker.params.import_answers.model_copy(update={"respondents": other})
    study = studies.load_results(maker.params.model_copy(update={"import_answers": collect}), loaded)
    assert any("human-ears/analysis.parquet: only 30 of 72" in note for note in study.notes)
    assert tables.build_table1(study).set_index("respondent").loc["human-ears", "role"] == "from a file"


def test_without_humans_the_report_does_not_speak_of_them(lacking):
    out, page, metrics = lacking
    assert not [word for word in ("Human", "human", "SIMULATED") if word in page]
    assert not (out / "report/tables/humans.csv").exists()
    assert not (out / "report/figures/humans.svg").exists()
    assert "humans" not in metrics
    assert not [key for key in metrics["accuracy"] if key.startswith("human")]


def test_predictions_without_a_column_are_left_out_with_its_name(maker, loaded):
    path = loaded / "train_switch/predictions.parquet"
    pd.read_parquet(path).drop(columns="target").to_parquet(path)
    study = studies.load_results(maker.params, loaded)
    assert study.switch_predictions is None
    assert any("lacks target" in note for note in study.notes)


def test_a_study_without_questions_stops_with_a_sentence(maker, loaded):
    (loaded / "make_questions/questions.parquet").unlink()
    with pytest.raises(schemas.SchemaError, match="run `dvc repro`"):
        studies.load_results(maker.params, loaded)
