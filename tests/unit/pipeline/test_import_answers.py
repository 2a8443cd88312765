"""The stage import_answers: a CSV file becomes answers per split, in the form of a model's answers."""

import dataclasses

import pytest

from synesthesia import schemas
from synesthesia.evaluation import csv_import
from synesthesia.pipeline import import_answers, measure_gap, stage_cli
from tests.helpers.simulated_responses import write_responses
from tests.helpers.study_outputs import StudyWriter, make_config


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Write clips and questions of a small study into the working folder."""
    monkeypatch.chdir(tmp_path)
    study = StudyWriter(tmp_path / "out", make_config(), labels=3, clips=4, unseen=1)
    study.write_clips()
    return study


def write_csv(study, content):
    path = study.out.parent / "humans/responses.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def test_answers_are_split_by_question_and_a_rerun_deletes_earlier_ones(study):
    ids = {s: study.questions[study.questions["split"] == s]["question_id"].iloc[0] for s in ("analysis", "unseen")}
    write_csv(study, "question_id,choice\n" + "".join(f"{q},1\n" for q in ids.values()))
    import_answers.run(study.config, "human-ears")
    for split, question in ids.items():
        answers = schemas.read(f"out/evaluate/human-ears/{split}.parquet", schemas.ANSWER).to_pylist()
        assert [(a["question_id"], a["respondent"], a["condition"]) for a in answers] == [
            (question, "human-ears", "audio")
        ]
    write_csv(study, f"question_id,choice\n{ids['unseen']},1\n")
    import_answers.run(study.config, "human-ears")
    assert [p.name for p in (study.out / "evaluate/human-ears").iterdir()] == ["unseen.parquet"]


def test_file_without_rows_is_no_error_and_is_not_logged(study, capsys):
    write_csv(study, "question_id,choice\n")
    import_answers.run(study.config, "human-eyes")
    assert "human-eyes: 0 responses" in capsys.readouterr().out
    assert list((study.out / "evaluate/human-eyes").iterdir()) == []
    assert schemas.read("out/import_answers/human-eyes/responses.parquet", schemas.RESPONSE).num_rows == 0
    assert import_answers.build_record(study.config, "human-eyes") is None


def test_record_has_accuracy_and_aggregation_parameters(study):
    questions = study.questions[study.questions["split"] == "analysis"]
    all_labels = dict.fromkeys(study.labels, 1.0)
    path = study.out.parent / "humans/responses.csv"
    write_responses(questions, path, dict.fromkeys(schemas.CONDITIONS, all_labels), responses_per_question=2)
    import_answers.run(study.config, "human-ears-and-eyes")
    record = dataclasses.asdict(import_answers.build_record(study.config, "human-ears-and-eyes"))
    assert record["metrics"]["accuracy.analysis"] > 0.9
    assert record["parameters"]["aggregation"] == "random"
    responses = schemas.read("out/import_answers/human-ears-and-eyes/responses.parquet", schemas.RESPONSE)
    assert responses.num_rows == 2 * len(questions)
    assert sum(responses["inattentive"].to_pylist()) > 0


def test_file_respondent_can_replace_a_model_in_the_gap(study):
    study.write()
    expected = schemas.read("out/measure_gap/gap.parquet", schemas.GAP)
    model = study.config.measure_gap.audio
    rows = schemas.read(f"out/evaluate/{model}/analysis.parquet", schemas.ANSWER).to_pylist()
    choices = ["" if row["choice"] is None else str(row["choice"]) for row in rows]
    lines = [f"{row['question_id']},{choice}" for row, choice in zip(rows, choices, strict=True)]
    write_csv(study, "question_id,choice\n" + "\n".join(reversed(lines)))
    import_answers.run(study.config, "human-ears")
    (study.out / "measure_gap/gap.parquet").unlink()
    gap_config = study.config.measure_gap.model_copy(update={"audio": "human-ears"})
    measure_gap.run(study.config.model_copy(update={"measure_gap": gap_config}))
    assert schemas.read("out/measure_gap/gap.parquet", schemas.GAP).equals(expected)


def test_invalid_file_changes_no_output(study):
    question = study.questions["question_id"].iloc[0]
    write_csv(study, f"question_id,choice\n{question},1\n")
    import_answers.run(study.config, "human-ears")
    before = {p: p.read_bytes() for p in study.out.rglob("*.parquet")}
    write_csv(study, f"question_id,choice\n{question},99\n")
    with pytest.raises(csv_import.ResponseError, match="choice '99'"):
        import_answers.run(study.config, "human-ears")
    assert {p: p.read_bytes() for p in study.out.rglob("*.parquet")} == before


def test_unknown_respondent_error_suggests_the_closest_one(study):
    with pytest.raises(stage_cli.UnknownItemError, match=r"no respondent 'human-ear'.*did you mean 'human-ears'"):
        import_answers.run(study.config, "human-ear")
