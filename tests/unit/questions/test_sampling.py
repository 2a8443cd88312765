"""The question's wording, its options, and what is read as a letter."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia import schemas
from synesthesia.questions import prompt, sampling
from tests.helpers.question_examples import LABELS, clips, real_frequencies

OPTIONS = ["police car", "ice cream van", "dog barking", "A", "plastic bottle crushing"]


def test_prompt_is_the_papers_word_for_word():
    assert prompt.format_prompt(["police car", "ice cream van", "plastic bottle crushing"]) == (
        "Classify the sounding object into one of the categories below:\nA. police car\nB. ice cream van\n"
        "C. plastic bottle crushing\nRespond only with a single letter from A to C."
    )
    assert prompt.format_prompt([str(n) for n in range(10)]).endswith(
        "J. 9\nRespond only with a single letter from A to J."
    )


CLEAR = ["C", "c", " C\n", "C.", "(C)", "[C]", "C)", "C. dog barking", "(C) Dog barking.", "dog barking"]
CLEAR += ["Dog barking.", "Answer: C", "answer: C. dog barking", "C: dog barking"]
UNCLEAR = [
    None,
    "",
    " ",
    "F",
    "J.",
    "A or B",
    "A, B",
    "AB",
    "A dog barking",
    "I",
    "the dog",
    "C. police car",
    "It is C",
]
UNCLEAR += ["police car or dog barking", "Answer:", "?", "1", "B. A", "é", "C D", "Ｃ"]


@pytest.mark.parametrize("text", CLEAR)
def test_clear_answers_are_read(text):
    assert prompt.parse_letter(text, OPTIONS) == 2


@pytest.mark.parametrize("text", UNCLEAR)
def test_anything_else_is_none_and_never_a_guess(text):
    assert prompt.parse_letter(text, OPTIONS) is None


def test_an_option_that_is_another_options_letter_is_ambiguous():
    assert prompt.parse_letter("A", ["B", "A", "dog"]) is None
    assert prompt.parse_letter("C", ["B", "A", "dog"]) == 2


@given(st.text(max_size=30))
def test_whatever_is_read_stands_in_the_text(text):
    index = prompt.parse_letter(text, OPTIONS)
    if index is not None:
        assert schemas.LETTERS[index] in text.upper() or OPTIONS[index] in text.casefold()


@given(st.integers(0, 9), st.sampled_from(["{}", "{}.", "({})", "Answer: {}", "{}. {}", "({}) {}"]), st.integers(2, 10))
def test_every_way_of_naming_an_option_is_read_where_it_exists(index, form, count):
    options = [f"sound {n}" for n in range(count)]
    text = form.format(schemas.LETTERS[index], options[index] if index < count else "sound")
    assert prompt.parse_letter(text, options) == (index if index < count else None)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4, unique=True), min_size=1, max_size=12),
    st.integers(2, 10),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["frequency", "uniform"]),
)
def test_every_question_has_one_true_option_and_no_second(labels, count, seed, distractors):
    table = {"vggsound": {label: 1 + n for n, label in enumerate(LABELS)}}
    for row, own in zip(
        sampling.draw_questions(clips(labels), seed, count, distractors, table).to_pylist(), labels, strict=True
    ):
        assert len(set(row["options"])) == count
        assert row["options"][row["target"]] in own
        assert [option for option in row["options"] if option in own] == [row["options"][row["target"]]]
        assert row["question_id"] == row["clip_id"] + "-q"


def test_a_question_does_not_depend_on_the_other_clips_or_their_order():
    table = clips([[LABELS[n % 14]] for n in range(200)])
    frequencies = sampling.count_label_frequencies(table)
    whole = {row["clip_id"]: row for row in sampling.draw_questions(table, 3, 10, "frequency", frequencies).to_pylist()}
    some = table.take(pa.array(np.random.default_rng(0).permutation(200)[:50]))
    for row in sampling.draw_questions(some, 3, 10, "frequency", frequencies).to_pylist():
        assert row == whole[row["clip_id"]]


def test_a_frequency_that_moves_by_one_changes_few_questions():
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
