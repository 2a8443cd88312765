r"""Parsing of replies: presentation is read, content is never guessed.

A reply names an option by its letter ("C"), by its letter and its text ("C. police car"), or by its text alone, each of
them after "Answer:" too. Presentation around these is ignored: blanks, markdown, quotes, brackets, LaTeX ("\boxed{C}"),
invisible characters, and Unicode's variants of the same characters (full-width letters, decomposed accents). Everything
else is content: a reply that says more, names two options, or contradicts itself names none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from synesthesia.schemas import LETTERS

MAX_REPLY_CHARS = 2000  # longer replies are explanations, and name no option by themselves
_QUOTES = "\"'`´‘’‚‛“”„‟«»‹›「」『』〝〞"
_WRAPPERS = ["**", "__", "*", "_", "```", "`", "$$", "$"]  # markdown and LaTeX marks that stand on both sides
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">", "【": "】", "「": "」", "『": "』", r"\(": r"\)", r"\[": r"\]"}
_FINAL_MARKS = ".,:;!)]。、"
_LATEX_COMMAND = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|tt)|emph|bf|it|rm)\s*\{([^{}]*)\}"
)
_LINE_PREFIX = re.compile(r"^(?:#{1,6}\s+|>\s+|[-*+•]\s+)")
_ANSWER_PREFIX = re.compile(
    r"(?P<opening>[*_`\"']*)answer\s*(?P<inner>[*_`\"']*)\s*:(?P<closing>[*_`\"']*)", re.IGNORECASE
)
_LETTER_AND_TEXT = re.compile(r"[(\[{<*_`\"“‘\s]*([A-Za-z])(?![A-Za-z])([.:)\]}>*_`\"”’,\-–—\s]+)(\S.*)", re.DOTALL)
_TAG = re.compile(r"</?(?:answer|b|i|u|em|strong|code|p|span|mark)>|<br\s*/?>", re.IGNORECASE)  # none that strikes out
_END_TOKEN = re.compile(r"(?:<\|[a-z_]+\|>|<(?:end_of_turn|eos)>|</s>)\s*$", re.IGNORECASE)
_CODE_FENCE = re.compile(r"^```[a-z]*\n(.*)\n```$", re.DOTALL)
_REASONING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_ENCLOSED_LETTER = re.compile(r"NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER ([A-Z])")
# Default_Ignorable_Code_Point of Unicode 16 that are not of category Cf
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def parse_letter(text: str | None, options: Sequence[str]) -> int | None:
    """Parse a reply; never guess.

    Args:
        text: The reply, or None.
        options: The options of the question, in order.

    Returns:
        Index of the option that the reply names, or None if it names none or more than one. A letter with the text of
        another option contradicts itself: it is None, and counts as wrong and unparseable.
    """
    if text is None or (len(text) > MAX_REPLY_CHARS and "</think>" not in text):
        return None
    reply = strip_presentation(_REASONING.sub("", text, count=1))
    names = [normalize_text(option) for option in options]
    matches = {index for index, name in enumerate(names) if name and normalize_text(reply) == name}
    index = _find_letter(reply, len(options))
    if index is not None:
        matches.add(index)
    elif split := _LETTER_AND_TEXT.fullmatch(reply):
        index = _find_letter(split[1], len(options))
        texts = normalize_text(split[3]), normalize_text(split[3].strip('*_`"”’ '))  # a mark's other half is before it
        if index is not None and names[index] in texts:
            matches.add(index)
    return matches.pop() if len(matches) == 1 else None


def parse_letter_token(token: str, num_options: int) -> int | None:
    """Parse one token of a vocabulary as a spelling of a letter.

    Args:
        token: The token as text, or as byte-level and SentencePiece vocabularies store it ("ĠB", "▁B", "<0x42>").
        num_options: Number of options, 2 to 10.

    Returns:
        Index of the letter, or None if the token is anything else.
    """
    if byte := re.fullmatch(r"<0x([0-7][0-9A-Fa-f])>", token):
        token = chr(int(byte[1], 16))
    return _find_letter(strip_presentation(clean_token(token).strip("([{<*_\"'` ")), num_options)


def clean_token(token: str) -> str:
    """Replace the blanks of byte-level and SentencePiece vocabularies ("Ġ", "Ċ", "ĉ", "▁") by real ones.

    Args:
        token: A token.

    Returns:
        The token as text.
    """
    return re.sub("[ĠĊĉ▁]", " ", token)


def is_sentence(text: str | None, options: Sequence[str]) -> bool:
    """Return whether a reply begins with a letter that is a word of a sentence ("I think", "A dog") and no answer.

    Args:
        text: The reply, or None.
        options: The options of the question, in order.
    """
    if text is None or parse_letter(text, options) is not None:
        return False
    return re.match(r"[A-Za-z](?:\w|['’]\w|\s+\w)", strip_presentation(text)) is not None


def normalize_text(text: str) -> str:
    """Strip presentation and fold case, for comparison of a reply with an option.

    Args:
        text: A reply or an option.

    Returns:
        The normalized text.
    """
    text = unicodedata.normalize("NFKC", strip_presentation(text).casefold())
    return re.sub(r"\s+", " ", text).rstrip(_FINAL_MARKS + " ")


def strip_presentation(text: str) -> str:
    """Remove what surrounds a text without changing what it says.

    Args:
        text: Any text.

    Returns:
        The text inside of quotes, brackets, markdown, and LaTeX, without invisible characters, in Unicode's
        composed compatibility form (NFKC); number forms such as "Ⅰ", which are no letters, stay as they are.
    """
    text = _normalize_unicode(text).strip()
    while True:
        before = text
        text = _remove_answer_prefix(_END_TOKEN.sub("", _TAG.sub("", text)))
        if fence := _CODE_FENCE.match(text):
            text = fence[1]
        text = _LATEX_COMMAND.sub(r"\1", text)
        text = _LINE_PREFIX.sub("", text)
        text = _unwrap(text).strip()
        if text == before:
            return text


def _unwrap(text: str) -> str:
    """Remove one pair of marks that encloses the text, or final punctuation."""
    if (
        len(text) >= 3
        and text[0] in _QUOTES
        and text[-1] in _QUOTES
        and not set(text[1:-1]) & set(_QUOTES) - {"'", "’"}
    ):
        return text[1:-1]
    for mark in _WRAPPERS:
        inner = text[len(mark) : -len(mark)]
        if text.startswith(mark) and text.endswith(mark) and inner and mark not in inner:
            return inner
    for opening, closing in _BRACKETS.items():
        if text.startswith(opening) and text.endswith(closing) and _is_one_pair(text, opening, closing):
            return text[len(opening) : -len(closing)]
    if len(text) > 1 and text[-1] in _FINAL_MARKS and not (text[-1] in ")]" and set(text) & {"(", "["}):
        return text[:-1]
    return text


def _is_one_pair(text: str, opening: str, closing: str) -> bool:
    """Return whether the last bracket closes the first one."""
    depth = 0
    for match in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text):
        depth += 1 if match[0] == opening else -1
        if depth == 0:
            return match.end() == len(text) and len(text) > len(opening) + len(closing)
    return False


def _remove_answer_prefix(text: str) -> str:
    """Remove "Answer:" with the marks around it, but none that belong to what follows."""
    match = _ANSWER_PREFIX.match(text)
    if match is None:
        return text
    opening, closing = match["opening"][::-1], match["closing"]
    if opening and match["inner"] != opening:
        if not closing.startswith(opening):
            return text
        closing = closing[len(opening) :]
    return (closing + text[match.end() :]).strip()


def _normalize_unicode(text: str) -> str:
    characters = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cf" or _IGNORABLE.match(character) or (category == "Cc" and not character.isspace()):
            continue
        enclosed = _ENCLOSED_LETTER.fullmatch(unicodedata.name(character, ""))
        characters.append(enclosed[1] if enclosed else character)
    # Normalization acts on runs between number forms, which it would turn into letters.
    runs = re.split(r"([\u2160-\u2188])", "".join(characters))
    return "".join(run if re.fullmatch(r"[\u2160-\u2188]", run) else unicodedata.normalize("NFKC", run) for run in runs)


def _find_letter(text: str, num_options: int) -> int | None:
    """Return the index of a text that is one letter of the options in either case."""
    text = text.lstrip("([{<")
    index = LETTERS.find(text.upper()) if len(text) == 1 and text.isascii() and text.isalpha() else -1
    return index if 0 <= index < num_options else None
