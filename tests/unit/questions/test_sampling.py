"""Sampling of options: valid, reproducible, and independent of other clips."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia import schemas
from synesthesia.questions import sampling
from tests.helpers.question_examples import LABELS, clips, real_frequencies


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4, unique=True), min_size=1, max_size=12),
    st.integers(2, 10),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["frequency", "uniform"]),
)
def test_every_question_has_exactly_one_true_option(labels, num_options, seed, distractors):
    frequencies = {"vggsound": {label: 1 + n for n, label in enumerate(LABELS)}}
    for row, clip_labels in zip(
        sampling.draw_questions(clips(labels), seed, num_options, distractors, frequencies).to_pylist(),
        labels,
        strict=True,
    ):
        assert len(set(row["options"])) == num_options
        assert row["options"][row["target"]] in clip_labels
        assert [option for option in row["options"] if option in clip_labels] == [row["options"][row["target"]]]
        assert row["question_id"] == row["clip_id"] + "-q"


def test_a_question_does_not_depend_on_other_clips_or_their_order():
    table = clips([[LABELS[n % 14]] for n in range(200)])
    frequencies = sampling.count_label_frequencies(table)
    all_questions = {
        row["clip_id"]: row for row in sampling.draw_questions(table, 3, 10, "frequency", frequencies).to_pylist()
    }
    subset = table.take(pa.array(np.random.default_rng(0).permutation(200)[:50]))
    for row in sampling.draw_questions(subset, 3, 10, "frequency", frequencies).to_pylist():
        assert row == all_questions[row["clip_id"]]


def test_a_frequency_that_changes_by_one_changes_few_questions():
    frequencies = real_frequencies()
    table = clips([[label] for label in frequencies for _ in range(10)])
    before = sampling.draw_questions(table, 0, 10, "frequency", {"vggsound": frequencies})
    frequencies["dog barking"] += 1
    after = sampling.draw_questions(table, 0, 10, "frequency", {"vggsound": frequencies})
    pairs = zip(before["options"].to_pylist(), after["options"].to_pylist(), strict=True)
    assert sum(a != b for a, b in pairs) <= 3


def test_each_data_set_has_its_own_labels():
    both = pa.concat_tables(
        [clips([[f"a{n}"] for n in range(12)]), clips([[f"b{n}"] for n in range(12)], "audioset", "unseen")]
    )
    both = both.set_column(0, schemas.CLIP.field("clip_id"), pa.array([f"c{n}" for n in range(24)]))
    for row in sampling.draw_questions(both, 0, 10, "frequency").to_pylist():
        assert {option[0] for option in row["options"]} == {"a" if row["split"] == "finetune" else "b"}


def test_too_few_labels_no_clips_and_unknown_labels_are_named():
    with pytest.raises(sampling.QuestionError, match=r"make_questions.num_options: 10, but only 7 labels"):
        sampling.draw_questions(clips([[label] for label in LABELS[:7]]), 0, 10, "frequency")
    with pytest.raises(sampling.QuestionError, match="no clips"):
        sampling.draw_questions(clips([]), 0, 10, "frequency")
    with pytest.raises(sampling.QuestionError, match="'label 13' is not in the table"):
        sampling.draw_questions(clips([["label 13"]]), 0, 2, "frequency", {"vggsound": {"x": 1, "y": 1}})
    with pytest.raises(sampling.QuestionError, match="has 4 itself"):
        sampling.draw_questions(clips([LABELS[:4]]), 0, 3, "frequency", {"vggsound": dict.fromkeys(LABELS[:5], 1)})
