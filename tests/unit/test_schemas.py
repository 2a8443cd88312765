"""Rules of the tables: what breaks one is named with its row; large tables are checked without a loop over rows."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import schemas

CLIP = {"clip_id": "a_000001", "video_id": "a", "dataset": "vggsound", "labels": ["dog"], "split": "test", "shard": 0}
QUESTION = {"question_id": "a-q", "clip_id": "a", "split": "test", "options": ["dog", "cat"], "answer": 0}


def clips(*labels: list[str]) -> pa.Table:
    rows = [CLIP | {"clip_id": f"c{n}", "labels": own, "row": n} for n, own in enumerate(labels)]
    return schemas.from_rows(rows, schemas.CLIP, "clips")


def questions(*changes: dict) -> pa.Table:
    rows = [QUESTION | {"question_id": f"q{n}"} | change for n, change in enumerate(changes)]
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def test_good_tables_come_back_as_they_are():
    assert clips(["dog"], ["cat", "dog"])["labels"].to_pylist() == [["dog"], ["cat", "dog"]]
    assert clips().num_rows == 0 and questions().num_rows == 0
    assert questions({}, {"options": list("abcdefghij"), "answer": 9})["answer"].to_pylist() == [0, 9]


@pytest.mark.parametrize("labels", [[], ["dog", "dog"], ["dog", "cat", "dog"]])
def test_a_clip_without_labels_or_with_one_twice_is_named(labels):
    with pytest.raises(schemas.SchemaError, match="clip c2 has no label, or one twice"):
        clips(["dog"], ["cat", "dog"], labels, ["cat"])


@pytest.mark.parametrize("options", [[], ["dog"], ["dog", "dog"], list("abcdefghijk")])
def test_a_question_with_too_few_too_many_or_equal_options_is_named(options):
    with pytest.raises(schemas.SchemaError, match="question q1 needs 2 to 10 different options"):
        questions({}, {"options": options}, {})


@pytest.mark.parametrize("answer", [-1, 2, 100])
def test_an_answer_outside_its_options_is_named(answer):
    with pytest.raises(schemas.SchemaError, match=f"question q2: answer {answer} is not among its 2 options"):
        questions({}, {}, {"answer": answer})


def test_a_key_that_occurs_twice_is_named_with_how_often():
    with pytest.raises(schemas.SchemaError, match="3 rows with q7"):
        questions({"question_id": "q7"}, {}, {"question_id": "q7"}, {"question_id": "q7"})


def test_a_chunked_or_sliced_table_is_checked_as_a_whole_one():
    first = questions({}, {"options": ["x", "y", "z"], "answer": 2})
    whole = pa.concat_tables([first, questions({"question_id": "z"})])
    assert schemas.check(whole, schemas.QUESTION, "questions").num_rows == 3
    assert schemas.check(whole.slice(1, 2), schemas.QUESTION, "questions").num_rows == 2


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=8))
def test_clips_pass_exactly_where_every_row_has_labels_and_none_twice(rows):
    good = all(own and len(set(own)) == len(own) for own in rows)
    if good:
        clips(*rows)
    else:
        first = next(n for n, own in enumerate(rows) if not own or len(set(own)) < len(own))
        with pytest.raises(schemas.SchemaError, match=f"clip c{first} "):
            clips(*rows)
