"""The label-wise gap: who is better where, and what is refused."""

import json

import pandas as pd
import pytest

from synesthesia import config, schemas
from synesthesia.pipeline import measure_gap

OPTIONS = ["cat", "dog", "owl"]


def questions(*labels):
    return pd.DataFrame(
        {
            "question_id": [f"q{i}" for i in range(len(labels))],
            "clip_id": [f"c{i}" for i in range(len(labels))],
            "split": "analysis",
            "options": [OPTIONS] * len(labels),
            "answer": [OPTIONS.index(x) for x in labels],
        }
    )


def answers(*choices, respondent="x", condition="audio"):
    rows = [
        {"question_id": f"q{i}", "respondent": respondent, "condition": condition, "choice": choice}
        for i, choice in enumerate(choices)
    ]
    return schemas.from_rows(rows, schemas.ANSWER, "answers").to_pandas()


def test_a_tie_counts_as_audio_at_least_as_good():
    asked = questions("cat", "cat", "dog", "dog", "owl")
    found = measure_gap.compute_label_gap(asked, answers(0, 1, 1, 0, 2), answers(1, 0, 1, 1, 0)).set_index("label")
    assert found["visual_better"].to_dict() == {"cat": False, "dog": True, "owl": False}
    assert found.loc["cat", ["clips", "audio_accuracy", "visual_accuracy"]].tolist() == [2, 0.5, 0.5]


def test_an_unparseable_answer_is_wrong_and_never_a_choice():
    found = measure_gap.compute_label_gap(questions("cat", "cat"), answers(None, 0), answers(0, 0))
    assert found[["audio_accuracy", "visual_accuracy"]].to_numpy().tolist() == [[0.5, 1.0]]


def test_the_order_of_answers_does_not_matter():
    asked, mine = questions("cat", "dog", "owl"), answers(0, 0, 2)
    whole = measure_gap.compute_label_gap(asked, mine, mine)
    assert whole.equals(measure_gap.compute_label_gap(asked, mine[::-1].reset_index(drop=True), mine))


def test_a_missing_answer_is_refused_with_its_question():
    with pytest.raises(schemas.SchemaError, match="visual model answered 1 of 2 analysis questions, not q1"):
        measure_gap.compute_label_gap(questions("cat", "dog"), answers(0, 1), answers(0))


def test_the_stage_writes_labels_and_totals(tmp_path, monkeypatch):
    from tests.helpers.study_outputs import Maker, parameters

    monkeypatch.chdir(tmp_path)
    given: config.Config = parameters()
    Maker(tmp_path / "out", given, labels=4, clips=4, unseen=2).write()
    expected = schemas.read("out/gap/gap.parquet", schemas.GAP)
    measure_gap.run(given)
    assert schemas.read("out/gap/gap.parquet", schemas.GAP).equals(expected)
    totals = json.loads((tmp_path / "out/gap/metrics.json").read_text())
    assert totals["labels"] == 4
    assert totals["visual_better_labels"] == sum(expected["visual_better"].to_pylist())
    assert totals["audio_accuracy"] == pytest.approx(sum(expected["audio_accuracy"].to_pylist()) / 4)


def test_no_analysis_question_is_refused(tmp_path, monkeypatch):
    from tests.helpers.study_outputs import Maker, parameters

    monkeypatch.chdir(tmp_path)
    maker = Maker(tmp_path / "out", parameters(), labels=2, clips=2, unseen=1)
    maker.write_clips()
    schemas.write(
        schemas.from_rows(
            maker.questions[maker.questions["split"] == "test"].to_dict("records"), schemas.QUESTION, "questions"
        ),
        "out/ask/questions.parquet",
        schemas.QUESTION,
    )
    with pytest.raises(schemas.SchemaError, match="no analysis question"):
        measure_gap.run(maker.params)
