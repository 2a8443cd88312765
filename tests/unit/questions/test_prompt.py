"""Prompt of a question."""

from synesthesia.questions.prompt import format_prompt


def test_prompt_equals_the_papers_word_for_word():
    assert format_prompt(["police car", "ice cream van", "plastic bottle crushing"]) == (
        "Classify the sounding object into one of the categories below:\nA. police car\nB. ice cream van\n"
        "C. plastic bottle crushing\nRespond only with a single letter from A to C."
    )
    assert format_prompt([str(n) for n in range(10)]).endswith("J. 9\nRespond only with a single letter from A to J.")
