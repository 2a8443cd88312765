"""Incomplete studies: the report states what is missing, and neither crashes nor prints nan."""

import json
import re
import shutil

import pandas as pd
import pytest

from synesthesia import schemas
from synesthesia.analysis import loading, tables
from synesthesia.analysis.figures import style
from synesthesia.pipeline import report
from tests.helpers.study_outputs import StudyWriter, make_config

pytestmark = pytest.mark.slow  # real files and figures: seconds each


def run_report(writer, monkeypatch):
    """Run the stage; return the page's text and the metrics."""
    monkeypatch.chdir(writer.out.parent)
    monkeypatch.setattr(style, "encode_figure", lambda figure, name, fmt: name.encode())  # drawn, not encoded
    report.run(writer.config)
    page = re.sub(r'src="[^"]*"', "", (writer.out / "report/index.html").read_text())
    assert not re.search(r"\b(nan|None|inf)\b", page)
    return page, json.loads((writer.out / "report/metrics.json").read_text())


def drop_settings(config, labels):
    """Return the configuration without the distillation settings that train on these labels."""
    settings = {key: s for key, s in config.distill.settings.items() if s.labels != labels}
    return config.model_copy(update={"distill": config.distill.model_copy(update={"settings": settings})})


def test_clips_and_questions_alone_give_a_report_of_what_is_missing(tmp_path, monkeypatch):
    writer = StudyWriter(tmp_path / "out", make_config(), labels=2, clips=2, unseen=1)
    writer.write_clips()
    (writer.out / "curate/counts.json").write_text("not json")
    page, metrics = run_report(writer, monkeypatch)
    assert "There are no answers yet." in page
    assert page.count("undefined: ") == 8
    assert "gap.parquet is missing" in page
    assert "is not JSON" in page
    assert metrics == {"unparseable": {"all": 0.0}}


def test_one_label_and_one_class_are_stated_in_words(tmp_path, monkeypatch):
    writer = StudyWriter(tmp_path / "out", make_config(), labels=1, clips=4, unseen=1)
    writer.accuracy["audio"] = dict.fromkeys(writer.labels + writer.unseen_labels, 0.0)
    writer.write()
    page, metrics = run_report(writer, monkeypatch)
    assert "all finetune clips have the same target" in page
    assert "balanced_accuracy" not in metrics["switch"]
    assert "better on 1 of 1 labels" in page


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory):
    """Outputs, page and metrics of a study without humans, unseen clips, ground-truth settings and some files."""
    config = drop_settings(make_config(), labels="ground_truth")
    writer = StudyWriter(tmp_path_factory.mktemp("incomplete") / "out", config, labels=3, clips=4, unseen=0)
    writer.write()
    for name in config.import_answers.respondents:  # as the stage leaves them where the CSV has a header only
        (writer.out / "evaluate" / name).mkdir(parents=True)
    (writer.out / "evaluate/qwen2-5-omni/test.parquet").unlink()
    (writer.out / "evaluate_students/visual-to-audio/test.parquet").write_bytes(b"broken")
    (writer.out / "train_switch/history.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        return writer.out, *run_report(writer, patch)


def test_missing_split_setting_and_file_are_stated(incomplete):
    _, page, metrics = incomplete
    assert "There are no questions of the unseen split" in page
    assert "the parameters have no such setting" in page
    assert "qwen2-5-omni/test.parquet is missing" in page
    assert "test.parquet is not a table of this project" in page
    assert "recovered_fraction_of_ground_truth" not in metrics
    assert set(metrics["student_minus_teacher"]) == {"analysis"}
    assert "unseen" not in metrics


@pytest.fixture
def out_copy(writer, tmp_path):
    """A copy of the study's outputs that a test may change."""
    shutil.copytree(writer.out, tmp_path / "out", ignore=shutil.ignore_patterns("report"))
    return tmp_path / "out"


def rewrite_answers(path, change):
    frame = pd.DataFrame(schemas.read(path, schemas.ANSWER).to_pylist()).astype({"choice": object})
    frame["choice"] = frame["choice"].where(frame["choice"].notna(), None)
    schemas.write(schemas.from_rows(change(frame).to_dict("records"), schemas.ANSWER, "x"), path, schemas.ANSWER)


def test_missing_and_foreign_answers_are_counted_in_a_note(writer, out_copy):
    path = out_copy / "evaluate/qwen2-vl/analysis.parquet"
    rewrite_answers(path, lambda f: f.iloc[3:].assign(question_id=["unknown question", *f["question_id"].iloc[4:]]))
    results = loading.load_results(writer.config, out_copy)
    assert any("1 answers to questions not in analysis" in note for note in results.notes)
    assert any("only 68 of 72 questions" in note for note in results.notes)
    assert len(results.pair_answers("analysis", "qwen2-audio", "qwen2-vl")) == 68


def test_answers_of_another_respondent_are_skipped(writer, out_copy):
    rewrite_answers(out_copy / "evaluate/qwen2-vl/analysis.parquet", lambda f: f.assign(respondent="impostor"))
    results = loading.load_results(writer.config, out_copy)
    assert results.get_answers("qwen2-vl", "analysis").empty
    assert any("'impostor'" in note for note in results.notes)


def test_unanswered_questions_are_noted_for_a_file_but_not_for_humans(writer, out_copy):
    path = out_copy / "evaluate/human-ears/analysis.parquet"
    rewrite_answers(path, lambda f: f.iloc[:30])
    assert not any("human-ears" in note for note in loading.load_results(writer.config, out_copy).notes)
    block = writer.config.import_answers
    respondent = block.respondents["human-ears"].model_copy(update={"human": False})
    block = block.model_copy(update={"respondents": {**block.respondents, "human-ears": respondent}})
    results = loading.load_results(writer.config.model_copy(update={"import_answers": block}), out_copy)
    assert any("human-ears/analysis.parquet: only 30 of 72" in note for note in results.notes)
    assert tables.build_table1(results).set_index("respondent").loc["human-ears", "role"] == "from a file"


def test_report_without_humans_does_not_mention_them(incomplete):
    out, page, metrics = incomplete
    assert not [word for word in ("Human", "human", "SIMULATED") if word in page]
    assert not (out / "report/tables/respondents.csv").exists()
    assert not (out / "report/figures/humans.svg").exists()
    assert "humans" not in metrics
    assert not [key for key in metrics["accuracy"] if key.startswith("human")]


def test_predictions_without_a_column_are_skipped_with_its_name(writer, out_copy):
    path = out_copy / "train_switch/predictions.parquet"
    pd.read_parquet(path).drop(columns="target").to_parquet(path)
    results = loading.load_results(writer.config, out_copy)
    assert results.switch_predictions is None
    assert any("lacks target" in note for note in results.notes)


def test_missing_questions_are_an_error_that_names_the_command(writer, out_copy):
    (out_copy / "make_questions/questions.parquet").unlink()
    with pytest.raises(schemas.SchemaError, match="run `dvc repro`"):
        loading.load_results(writer.config, out_copy)
