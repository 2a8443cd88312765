"""Schemas: violations are reported with the offending row."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import schemas

CLIP = {"clip_id": "a_000001", "video_id": "a", "dataset": "vggsound", "labels": ["dog"], "split": "test", "shard": 0}
QUESTION = {"question_id": "a-q", "clip_id": "a", "split": "test", "options": ["dog", "cat"], "target": 0}


def clips(*labels: list[str]) -> pa.Table:
    rows = [CLIP | {"clip_id": f"c{n}", "labels": clip_labels, "row": n} for n, clip_labels in enumerate(labels)]
    return schemas.from_rows(rows, schemas.CLIP, "clips")


def questions(*changes: dict) -> pa.Table:
    rows = [QUESTION | {"question_id": f"q{n}"} | change for n, change in enumerate(changes)]
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def test_valid_tables_are_returned_unchanged():
    assert clips(["dog"], ["cat", "dog"])["labels"].to_pylist() == [["dog"], ["cat", "dog"]]
    assert clips().num_rows == 0 and questions().num_rows == 0
    assert questions({}, {"options": list("abcdefghij"), "target": 9})["target"].to_pylist() == [0, 9]


@pytest.mark.parametrize("labels", [[], ["dog", "dog"], ["dog", "cat", "dog"]])
def test_clip_with_no_or_duplicate_labels_is_named(labels):
    with pytest.raises(schemas.SchemaError, match="clip c2 has no label, or a duplicate"):
        clips(["dog"], ["cat", "dog"], labels, ["cat"])


@pytest.mark.parametrize("options", [[], ["dog"], ["dog", "dog"], list("abcdefghijk")])
def test_question_with_too_few_too_many_or_duplicate_options_is_named(options):
    with pytest.raises(schemas.SchemaError, match="question q1 needs 2 to 10 different options"):
        questions({}, {"options": options}, {})


@pytest.mark.parametrize("target", [-1, 2, 100])
def test_target_outside_the_options_is_named(target):
    with pytest.raises(schemas.SchemaError, match=f"question q2: target {target} is not among its 2 options"):
        questions({}, {}, {"target": target})


def test_duplicate_key_is_named_with_its_count():
    with pytest.raises(schemas.SchemaError, match="3 rows with q7"):
        questions({"question_id": "q7"}, {}, {"question_id": "q7"}, {"question_id": "q7"})


def test_chunked_and_sliced_tables_are_checked():
    first = questions({}, {"options": ["x", "y", "z"], "target": 2})
    combined = pa.concat_tables([first, questions({"question_id": "z"})])
    assert schemas.check(combined, schemas.QUESTION, "questions").num_rows == 3
    assert schemas.check(combined.slice(1, 2), schemas.QUESTION, "questions").num_rows == 2


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=8))
def test_clips_are_valid_only_if_every_row_has_distinct_labels(rows):
    is_valid = all(labels and len(set(labels)) == len(labels) for labels in rows)
    if is_valid:
        clips(*rows)
    else:
        first = next(n for n, labels in enumerate(rows) if not labels or len(set(labels)) < len(labels))
        with pytest.raises(schemas.SchemaError, match=f"clip c{first} "):
            clips(*rows)
