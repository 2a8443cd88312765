"""The gap: accuracies per label, label groups, and rejected input. Needs no torch."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia import config, schemas
from synesthesia.distillation.gap import TIE_TOLERANCE, compute_label_gap, group_labels
from synesthesia.pipeline import measure_gap

OPTIONS = ["cat", "dog", "owl"]


def make_questions(*labels):
    return pd.DataFrame(
        {
            "question_id": [f"q{i}" for i in range(len(labels))],
            "clip_id": [f"c{i}" for i in range(len(labels))],
            "split": "analysis",
            "options": [OPTIONS] * len(labels),
            "target": [OPTIONS.index(x) for x in labels],
        }
    )


def make_answers(*choices, respondent="x", condition="audio"):
    rows = [
        {"question_id": f"q{i}", "respondent": respondent, "condition": condition, "choice": choice}
        for i, choice in enumerate(choices)
    ]
    return schemas.from_rows(rows, schemas.ANSWER, "answers").to_pandas()


def test_tie_is_not_visual_better():
    questions = make_questions("cat", "cat", "dog", "dog", "owl")
    gap = compute_label_gap(questions, make_answers(0, 1, 1, 0, 2), make_answers(1, 0, 1, 1, 0)).set_index("label")
    assert gap["visual_better"].to_dict() == {"cat": False, "dog": True, "owl": False}
    assert gap.loc["cat", ["n_clips", "audio_accuracy", "visual_accuracy"]].tolist() == [2, 0.5, 0.5]


def test_unparseable_answer_counts_as_wrong():
    gap = compute_label_gap(make_questions("cat", "cat"), make_answers(None, 0), make_answers(0, 0))
    assert gap[["audio_accuracy", "visual_accuracy"]].to_numpy().tolist() == [[0.5, 1.0]]


def test_gap_is_independent_of_answer_order():
    questions, answers = make_questions("cat", "dog", "owl"), make_answers(0, 0, 2)
    gap = compute_label_gap(questions, answers, answers)
    assert gap.equals(compute_label_gap(questions, answers[::-1].reset_index(drop=True), answers))


def test_missing_answer_is_rejected():
    with pytest.raises(schemas.SchemaError, match="visual model answered 1 of 2 analysis questions, not q1"):
        compute_label_gap(make_questions("cat", "dog"), make_answers(0, 1), make_answers(0))


def test_duplicate_answer_is_rejected():
    duplicated = pd.concat([make_answers(0, 1), make_answers(0)])
    with pytest.raises(schemas.SchemaError, match="audio model answered question q0 twice"):
        compute_label_gap(make_questions("cat", "dog"), duplicated, make_answers(0, 1))


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 5))
def test_label_groups_are_disjoint_and_ordered_by_gap(num_labels, max_labels, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"label": [f"label {i:03d}" for i in range(num_labels)]})
    frame["audio"], frame["visual"] = rng.integers(0, 51, (2, num_labels)) / 50
    groups = group_labels(frame, max_labels)
    gap = frame.assign(gap=frame["visual"] - frame["audio"]).set_index("label")["gap"]
    grouped = [label for labels in groups.values() for label in labels]
    assert len(grouped) == len(set(grouped)) <= 3 * max_labels
    assert all(abs(gap[label]) <= TIE_TOLERANCE + 1e-6 for label in groups["Tie"])
    assert all(gap[label] < 0 for label in groups["Audio better"])
    assert list(gap[groups["Visual better"]]) == sorted(gap[gap > TIE_TOLERANCE + 1e-6], reverse=True)[:max_labels]


def test_stage_writes_gap_and_metrics(tmp_path, monkeypatch):
    from tests.helpers.study_outputs import StudyWriter, make_config

    monkeypatch.chdir(tmp_path)
    study_config: config.Config = make_config()
    StudyWriter(tmp_path / "out", study_config, labels=4, clips=4, unseen=2).write()
    expected = schemas.read("out/measure_gap/gap.parquet", schemas.GAP)
    measure_gap.run(study_config)
    assert schemas.read("out/measure_gap/gap.parquet", schemas.GAP).equals(expected)
    metrics = json.loads((tmp_path / "out/measure_gap/metrics.json").read_text())
    assert metrics["labels"] == 4
    assert metrics["visual_better_labels"] == sum(expected["visual_better"].to_pylist())
    assert metrics["audio_accuracy"] == pytest.approx(sum(expected["audio_accuracy"].to_pylist()) / 4)


def test_stage_rejects_table_without_analysis_questions(tmp_path, monkeypatch):
    from tests.helpers.study_outputs import StudyWriter, make_config

    monkeypatch.chdir(tmp_path)
    study = StudyWriter(tmp_path / "out", make_config(), labels=2, clips=2, unseen=1)
    study.write_clips()
    schemas.write(
        schemas.from_rows(
            study.questions[study.questions["split"] == "test"].to_dict("records"), schemas.QUESTION, "questions"
        ),
        "out/make_questions/questions.parquet",
        schemas.QUESTION,
    )
    with pytest.raises(schemas.SchemaError, match="no analysis question"):
        measure_gap.run(study.config)
