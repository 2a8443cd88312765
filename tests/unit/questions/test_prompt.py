"""Prompt of a question, and parsing of replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import schemas
from synesthesia.questions.prompt import format_prompt, parse_letter

OPTIONS = ["police car", "ice cream van", "dog barking", "A", "plastic bottle crushing"]


def test_prompt_equals_the_papers_word_for_word():
    assert format_prompt(["police car", "ice cream van", "plastic bottle crushing"]) == (
        "Classify the sounding object into one of the categories below:\nA. police car\nB. ice cream van\n"
        "C. plastic bottle crushing\nRespond only with a single letter from A to C."
    )
    assert format_prompt([str(n) for n in range(10)]).endswith("J. 9\nRespond only with a single letter from A to J.")


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
def test_clear_replies_are_parsed(text):
    assert parse_letter(text, OPTIONS) == 2


@pytest.mark.parametrize("text", UNCLEAR)
def test_unclear_replies_are_none_and_never_guessed(text):
    assert parse_letter(text, OPTIONS) is None


def test_an_option_that_equals_the_letter_of_another_option_is_ambiguous():
    assert parse_letter("A", ["B", "A", "dog"]) is None
    assert parse_letter("C", ["B", "A", "dog"]) == 2


@given(st.text(max_size=30))
def test_a_parsed_option_occurs_in_the_reply(text):
    index = parse_letter(text, OPTIONS)
    if index is not None:
        assert schemas.LETTERS[index] in text.upper() or OPTIONS[index] in text.casefold()


@given(st.integers(0, 9), st.sampled_from(["{}", "{}.", "({})", "Answer: {}", "{}. {}", "({}) {}"]), st.integers(2, 10))
def test_every_form_of_an_existing_option_is_parsed(index, template, num_options):
    options = [f"sound {n}" for n in range(num_options)]
    text = template.format(schemas.LETTERS[index], options[index] if index < num_options else "sound")
    assert parse_letter(text, options) == (index if index < num_options else None)
