"""Parsing of replies: presentation is read, content is never guessed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia import schemas
from synesthesia.questions.parsing import is_sentence, normalize_text, parse_letter, parse_letter_token

OPTIONS = ["police car", "ice cream van", "dog barking", "A", "plastic bottle crushing", "cafe\u0301 noise"]

CLEAR = [
    "C",
    "c",
    " C\n",
    "C.",
    "(C)",
    "[C]",
    "C)",
    "C. dog barking",
    "(C) Dog barking.",
    "dog barking",
    "Dog barking.",
]
CLEAR += ["Answer: C", "answer: C. dog barking", "C: dog barking", "C - dog barking", "C, dog barking", "(C).", "C!"]
CLEAR += [
    "**C**",
    "*C*",
    "_C_",
    "__C__",
    "***C***",
    "`C`",
    "```\nC\n```",
    "```text\nC\n```",
    "# C",
    "### C",
    "> C",
    "- C",
]
CLEAR += [
    "Answer: **C**",
    "**Answer:** C",
    "**Answer**: C",
    "**Answer: C**",
    "**C.** dog barking",
    "C. **dog barking**",
]
CLEAR += [
    "**C. dog barking**",
    "[C] dog barking",
    '"C"',
    "'C'",
    "“C”",
    "‘C’",
    "«C»",
    "„C“",
    "「C」",
    '"C."',
    "“Answer: C”",
]
CLEAR += [r"\boxed{C}", r"$\boxed{C}$", r"$$\boxed{C}$$", r"\(\boxed{C}\)", r"\[ \boxed{C} \]", r"\boxed{\text{C}}"]
CLEAR += [
    r"\textbf{C}",
    r"\mathrm{C}",
    "$C$",
    r"Answer: $\boxed{C}$",
    "[[C]]",
    "((C))",
    "{C}",
    "<C>",
    "【C】",
    "（Ｃ）",
]
CLEAR += [
    "C\u200b",
    "\ufeffC",
    "C\u2060.",
    "\u202aC\u202c",
    "C\ufe0f",
    "C\u00ad",
    "dog\u00a0barking",
    "dog\u2009barking",
]
CLEAR += [
    "Ｃ",
    "Ⓒ",
    "🅒",
    "🅲",
    "𝐂",
    "ℂ",
    "ⓒ",
    "⒞",
    "C．",
    "C。",
    "<answer>C</answer>",
    "<b>C</b>",
    "C<|im_end|>",
    "C</s>",
]
CLEAR += ["<think>A? No, B or C.</think>\n\nC", "<think></think>C. dog barking"]

UNCLEAR = [
    None,
    "",
    " ",
    "H",
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
UNCLEAR += ["police car or dog barking", "Answer:", "?", "1", "B. A"]
UNCLEAR += ["é", "C D", "C?", "not C", "Answer: not C", "A/C"]
UNCLEAR += [
    "~~C~~",
    "<s>C</s>",
    "<del>C</del>",
    "C\u0336",
    "C\u20e0",
    "<think>C",
    "С",
    "Ϲ",
    "Ⅽ",
    "Ⅰ",
    "©",
    "℃",
    "(A) or (C)",
]
UNCLEAR += ["**A** or **C**", "A. dog barking", "[A] dog barking", r"\boxed{A} or \boxed{C}", "C++", "C#", "C" * 3000]
UNCLEAR += ["C. dog barking or police car", "\U000e0043", "I think", "a dog"]


@pytest.mark.parametrize("text", CLEAR)
def test_clear_replies_are_parsed(text):
    assert parse_letter(text, OPTIONS) == 2


@pytest.mark.parametrize("text", UNCLEAR)
def test_unclear_replies_are_none_and_never_guessed(text):
    assert parse_letter(text, OPTIONS) is None


def test_an_option_that_equals_the_letter_of_another_option_is_ambiguous():
    assert parse_letter("A", ["B", "A", "dog"]) is None
    assert parse_letter("C", ["B", "A", "dog"]) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_labels_are_read_in_every_unicode_form(form):
    text = unicodedata.normalize(form, "café noise")
    assert parse_letter(text, OPTIONS) == parse_letter(f"F. {text}", OPTIONS) == 5


def test_an_article_before_another_options_text_is_a_contradiction_and_before_its_own_is_none():
    assert parse_letter("A dog barking", OPTIONS) is None
    assert parse_letter("A police car", OPTIONS) == 0


@given(st.text(max_size=30))
def test_a_parsed_option_occurs_in_the_reply(text):
    index = parse_letter(text, OPTIONS)
    if index is not None:
        plain = unicodedata.normalize("NFKC", text).upper()
        letter = schemas.LETTERS[index]
        names = {unicodedata.name(character, "").rpartition(" ")[2] for character in text}
        assert letter in plain or letter in names or normalize_text(OPTIONS[index]) in normalize_text(text)


TEMPLATES = [
    "{}",
    "{}.",
    "({})",
    "Answer: {}",
    "{}. {}",
    "({}) {}",
    "**{}**",
    "**{}.** {}",
    r"\boxed{{{}}}",
    "{}\u200b",
]


@given(st.integers(0, 9), st.sampled_from(TEMPLATES), st.integers(2, 10))
def test_every_form_of_an_existing_option_is_parsed(index, template, num_options):
    options = [f"sound {n}" for n in range(num_options)]
    text = template.format(schemas.LETTERS[index], options[index] if index < num_options else "sound")
    assert parse_letter(text, options) == (index if index < num_options else None)


MARKS = [
    "",
    " ",
    "\n",
    "*",
    "**",
    "_",
    "`",
    '"',
    "“",
    "”",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ":",
    ",",
    "$",
    "#",
    "> ",
    "- ",
]
MARKS += [r"\boxed{", r"\(", r"\)", "\u200b", "\u00a0", "Answer:"]
MARKS += ["answer", "~~", "<b>", "</b>", "<think>", "</think>"]


@given(
    st.lists(st.sampled_from(MARKS), max_size=6), st.sampled_from("ABCDEFGHIJabcdefghij"),
    st.lists(st.sampled_from(MARKS), max_size=6),
)  # fmt: skip
def test_marks_around_one_letter_never_yield_another_letter(before, letter, after):
    options = [f"sound {n}" for n in range(10)]
    index = parse_letter("".join(before) + letter + "".join(after), options)
    assert index in (None, schemas.LETTERS.index(letter.upper()))


@given(st.lists(st.sampled_from([*MARKS, *"ABCJ", "dog barking", "police car", " or ", "not "]), max_size=8))
def test_two_different_letters_or_options_are_never_read_as_one(parts):
    reasoning_end = max((i + 1 for i, part in enumerate(parts) if part == "</think>"), default=0)
    letters = {part for part in parts[reasoning_end:] if part in "ABCJ" and part}
    if len(letters) > 1:
        text = "".join(parts)
        index = parse_letter(text, OPTIONS)
        # one of the two may be the text of an option: "A" is the name of option D
        assert index is None or (letters == {"A", "D"})


@pytest.mark.parametrize(
    "token", ["B", " B", "ĠB", "▁B", "ĊB", "<0x42>", "b", "B.", "(B", "B)", "**B", '"B', "\nB", "Ｂ"]
)
def test_spellings_of_a_letter_in_a_vocabulary(token):
    assert parse_letter_token(token, 10) == 1
    assert parse_letter_token(token, 2) == 1


@pytest.mark.parametrize("token", ["", " ", "Ġ", "Bob", "An", "AB", "K", "1", "<0x4B>", "<|im_end|>", "Б", "В", "("])
def test_other_tokens_are_no_letter(token):
    assert parse_letter_token(token, 10) is None


def test_a_letter_beyond_the_options_is_no_letter():
    assert parse_letter_token("C", 2) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("I think it is B", True), ("A dog", True), ("I'm not sure", True), ("An owl", True), ("C. dog and more", False),
     ("C", False), ("A police car", False), (None, False), ("(B) something else", False)],
)  # fmt: skip
def test_a_sentence_is_told_from_an_answer(text, expected):
    assert is_sentence(text, OPTIONS) is expected
