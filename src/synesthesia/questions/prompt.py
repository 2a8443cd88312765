"""Prompt of a question (paper section 3.1)."""

from __future__ import annotations

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
