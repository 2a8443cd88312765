"""Prompt of a question, and parsing of a reply (paper section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synesthesia.schemas import LETTERS


def format_prompt(options: Sequence[str]) -> str:
    """Format the text that follows the media, word for word as in the paper.

    Args:
        options: 2 to 10 display names.

    Returns:
        The prompt; options are lettered from A.
    """
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return (
        "Classify the sounding object into one of the categories below:\n"
        + "\n".join(lines)
        + f"\nRespond only with a single letter from A to {LETTERS[len(options) - 1]}."
    )


def parse_letter(text: str | None, options: Sequence[str]) -> int | None:
    """Parse a reply; never guess.

    Accepted are a single letter in either case ("B", "b.", "(B)", "B:"), a letter with the text of its option
    ("B. dog"), the text of an option, and each of these after "Answer:". A letter with the text of another option
    contradicts itself: it is None, and counts as wrong and unparseable.

    Args:
        text: The reply, or None.
        options: The options of the question, in order.

    Returns:
        Index of the option that the reply names, or None if it names none or more than one.
    """
    if text is None:
        return None
    reply = re.sub(r"^answer\s*:\s*", "", text.strip(), flags=re.IGNORECASE)
    names = [normalize_text(option) for option in options]
    matches = {index for index, name in enumerate(names) if normalize_text(reply) == name}
    single_letter = re.fullmatch(r"\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\s*[.):]?", reply)
    letter_and_text = re.fullmatch(r"(?:\(([A-Za-z])\)|([A-Za-z])\s*[.):])\s*(.+)", reply, flags=re.DOTALL)
    if single_letter:
        index = LETTERS.find(next(filter(None, single_letter.groups())).upper())
        if 0 <= index < len(options):
            matches.add(index)
    elif letter_and_text:
        index = LETTERS.find((letter_and_text[1] or letter_and_text[2]).upper())
        if 0 <= index < len(options) and normalize_text(letter_and_text[3]) == names[index]:
            matches.add(index)
    return matches.pop() if len(matches) == 1 else None


def normalize_text(text: str) -> str:
    """Strip spaces and one final period, and fold case, for comparison of a reply with an option.

    Args:
        text: A reply or an option.

    Returns:
        The normalized text.
    """
    text = text.strip().casefold()
    return text[:-1].rstrip() if text.endswith(".") else text
