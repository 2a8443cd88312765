"""The stage collect: a CSV in, answers by split out, as any model's."""

import dataclasses

import pytest

from synesthesia import schemas
from synesthesia.evaluation import csv_import
from synesthesia.pipeline import import_answers, measure_gap, stage_cli
from tests.helpers.simulated_responses import write_responses
from tests.helpers.study_outputs import Maker, parameters


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """Clips and questions of a small study, and the working folder there."""
    monkeypatch.chdir(tmp_path)
    made = Maker(tmp_path / "out", parameters(), labels=3, clips=4, unseen=1)
    made.write_clips()
    return made


def write(maker, content):
    path = maker.out.parent / "humans/responses.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def test_answers_go_to_their_questions_splits_and_a_second_run_leaves_no_older_ones(maker):
    ids = {s: maker.questions[maker.questions["split"] == s]["question_id"].iloc[0] for s in ("analysis", "unseen")}
    write(maker, "question_id,choice\n" + "".join(f"{q},1\n" for q in ids.values()))
    import_answers.run(maker.params, "human-ears")
    for split, question in ids.items():
        found = schemas.read(f"out/evaluate/human-ears/{split}.parquet", schemas.ANSWER).to_pylist()
        assert [(a["question_id"], a["respondent"], a["condition"]) for a in found] == [
            (question, "human-ears", "audio")
        ]
    write(maker, f"question_id,choice\n{ids['unseen']},1\n")
    import_answers.run(maker.params, "human-ears")
    assert [p.name for p in (maker.out / "evaluate/human-ears").iterdir()] == ["unseen.parquet"]


def test_nobody_yet_is_no_error_and_nothing_to_log(maker, capsys):
    write(maker, "question_id,choice\n")
    import_answers.run(maker.params, "human-eyes")
    assert "human-eyes: 0 judgements" in capsys.readouterr().out
    assert list((maker.out / "evaluate/human-eyes").iterdir()) == []
    assert schemas.read("out/import_answers/human-eyes/responses.parquet", schemas.RESPONSE).num_rows == 0
    assert import_answers.build_record(maker.params, "human-eyes") is None


def test_what_goes_to_mlflow_are_accuracy_and_rule(maker):
    asked = maker.questions[maker.questions["split"] == "analysis"]
    everything = dict.fromkeys(maker.labels, 1.0)
    path = maker.out.parent / "humans/responses.csv"
    write_responses(asked, path, dict.fromkeys(schemas.CONDITIONS, everything), responses_per_question=2)
    import_answers.run(maker.params, "human-ears-and-eyes")
    record = dataclasses.asdict(import_answers.build_record(maker.params, "human-ears-and-eyes"))
    assert record["metrics"]["accuracy.analysis"] > 0.9
    assert record["parameters"]["aggregation"] == "random"
    kept = schemas.read("out/import_answers/human-ears-and-eyes/responses.parquet", schemas.RESPONSE)
    assert kept.num_rows == 2 * len(asked)
    assert sum(kept["inattentive"].to_pylist()) > 0


def test_a_file_can_take_a_models_place_in_the_gap(maker):
    maker.write()
    expected = schemas.read("out/measure_gap/gap.parquet", schemas.GAP)
    model = maker.params.measure_gap.audio
    rows = schemas.read(f"out/evaluate/{model}/analysis.parquet", schemas.ANSWER).to_pylist()
    said = ["" if row["choice"] is None else str(row["choice"]) for row in rows]
    lines = [f"{row['question_id']},{choice}" for row, choice in zip(rows, said, strict=True)]
    write(maker, "question_id,choice\n" + "\n".join(reversed(lines)))
    import_answers.run(maker.params, "human-ears")
    (maker.out / "measure_gap/gap.parquet").unlink()
    sides = maker.params.measure_gap.model_copy(update={"audio": "human-ears"})
    measure_gap.run(maker.params.model_copy(update={"measure_gap": sides}))
    assert schemas.read("out/measure_gap/gap.parquet", schemas.GAP).equals(expected)


def test_an_unusable_file_changes_nothing_that_is_there(maker):
    question = maker.questions["question_id"].iloc[0]
    write(maker, f"question_id,choice\n{question},1\n")
    import_answers.run(maker.params, "human-ears")
    before = {p: p.read_bytes() for p in maker.out.rglob("*.parquet")}
    write(maker, f"question_id,choice\n{question},99\n")
    with pytest.raises(csv_import.ResponseError, match="choice '99'"):
        import_answers.run(maker.params, "human-ears")
    assert {p: p.read_bytes() for p in maker.out.rglob("*.parquet")} == before


def test_an_unknown_respondent_is_named(maker):
    with pytest.raises(stage_cli.UnknownItemError, match=r"no respondent 'human-ear'.*did you mean 'human-ears'"):
        import_answers.run(maker.params, "human-ear")
