"""Imports answers from a CSV file: responses of humans, or answers of a model that runs elsewhere.

The CSV is UTF-8, comma-separated, and its first line names the columns, in any order:

    question_id    as in out/make_questions/questions.parquet
    choice         the option's index 0 to 9 or its letter A to J; empty: no choice, counts as wrong
    text           instead of `choice`: the reply, parsed by `questions.prompt.parse_letter`, which never guesses
    letter_logits  optional: a JSON list, one number per option, e.g. "[1.5, -0.2, ...]"
    seconds        optional: response time, 0 or more
    participant    optional: which of several people responded; a random id
    condition      optional: audio, silent_video or sounded_video; the respondent's own condition by default
    replays, focus_lost, load_failures, order    optional: counts, as the human study exports them
    inattentive    optional: true or false

With both `choice` and `text`, `choice` is the answer and `text` the reply. What spreadsheets and R add is passed over:
blank rows, a first line `sep=,`, trailing commas, and a first column of row names without a heading.

The human study's export is such a file, and so is a table of another model's answers; an entry under
`import_answers.respondents` in params.yaml points to it:

    kimi-audio: {title: Kimi-Audio, file: answers/kimi.csv, condition: audio, human: false}

Any error stops the import with its line and reason: a wrong answer that slipped in would count as a real one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from synesthesia import schemas
from synesthesia.evaluation.csv_table import ResponseError, quote, read_table, shorten
from synesthesia.questions.parsing import parse_letter
from synesthesia.schemas import CONDITIONS, LETTERS

SIMULATED = "simulated"  # prefix of participants (or of a whole file) that a program simulated, see `is_simulated`
MAX_ERRORS_SHOWN = 10  # per error message
MAX_FLOAT32 = float.fromhex("0x1.fffffep+127")


def read_responses(path: str | os.PathLike, questions: pa.Table, condition: str) -> pa.Table:
    """Read and check a CSV file. The whole file is checked, including rows of other conditions.

    Args:
        path: The CSV file, see the module's docstring.
        questions: Questions (schemas.QUESTION) that the file may answer.
        condition: `audio`, `silent_video`, or `sounded_video`; rows of other conditions are left out.

    Returns:
        Responses (schemas.RESPONSE), sorted by question and participant.

    Raises:
        ResponseError: The file cannot be read, has another encoding, or lacks a required column; a question is unknown;
            one participant responds twice to one question; a value is out of range; or simulated and real participants
            are mixed.
    """
    path = Path(path)
    header, rows = read_table(path)
    options = dict(zip(questions["question_id"].to_pylist(), questions["options"].to_pylist(), strict=True))
    unnamed = [line for line, row in rows if not row["question_id"]]
    if unnamed:
        raise ResponseError(f"{path}: line {unnamed[0]}: question_id is empty ({len(unnamed)} rows have none)")
    unknown_lines = [line for line, row in rows if row["question_id"] not in options]
    if unknown_lines:
        unknown = Counter(row["question_id"] for _, row in rows if row["question_id"] not in options)
        raise ResponseError(
            f"{path}: {len(unknown)} unknown question ids in {len(unknown_lines)} rows: "
            f"{_preview(map(shorten, unknown))} (the first in line {unknown_lines[0]}, column question_id). They must "
            "be those of out/make_questions/questions.parquet; other clips or another make_questions.seed make "
            "other questions"
        )
    responses, errors = [], []
    for line, row in rows:
        try:
            responses.append(_parse_response(row, header, options[row["question_id"]], condition))
        except ValueError as error:
            errors.append(f"line {line}: {error}")
    if errors:
        more = f"\n(and {len(errors) - MAX_ERRORS_SHOWN} more)" if len(errors) > MAX_ERRORS_SHOWN else ""
        raise ResponseError(
            f"{path}: {len(errors)} rows cannot be used\n" + "\n".join(errors[:MAX_ERRORS_SHOWN]) + more
        )
    keys = Counter((r["question_id"], r["participant"], r["condition"]) for r in responses)
    duplicates = [f"{q} ({c}" + (f", {p})" if p else ")") for (q, p, c), count in keys.items() if count > 1]
    if duplicates:
        raise ResponseError(
            f"{path}: {len(duplicates)} questions have two responses of the same participant in the same condition: "
            f"{_preview(duplicates)}"
            + ("" if "participant" in header else ". Several people need a column `participant`")
        )
    if path.name.startswith(SIMULATED):
        responses = [
            {**r, "participant": f"{SIMULATED}-{r['participant'].removeprefix(SIMULATED + '-')}"} for r in responses
        ]
    is_simulated((r["participant"] for r in responses), str(path))
    selected = sorted(
        (r for r in responses if r["condition"] == condition), key=lambda r: (r["question_id"], r["participant"])
    )
    return schemas.from_rows(selected, schemas.RESPONSE, str(path))


def is_simulated(participants: Iterable[str], name: str) -> bool:
    """Tell whether participants are simulated.

    Args:
        participants: Ids of participants.
        name: Where they come from, for the error message.

    Returns:
        True if all are simulated, False if none is.

    Raises:
        ResponseError: Simulated and real participants are mixed.
    """
    kinds = {participant.startswith(SIMULATED) for participant in participants}
    if len(kinds) > 1:
        raise ResponseError(
            f"{name}: simulated and real participants are mixed; simulated ones belong in no real study"
        )
    return kinds == {True}


def aggregate_responses(
    responses: pa.Table, questions: pa.Table, respondent: str, *, seed: int, aggregation: str, inattentive: str
) -> pa.Table:
    """Aggregate responses into one answer per question.

    Draws depend on nothing but the seed, the question, and the participants.

    Args:
        responses: Responses (schemas.RESPONSE) of one condition.
        questions: Questions (schemas.QUESTION).
        respondent: Name of the respondent in the answers.
        seed: Seed of the draws.
        aggregation: `random` takes one response per question at random, so that accuracy is that of a single person
            and each clip counts once, as in the paper, where each clip had one response. `majority` takes the option
            with the most votes, ties broken at random, with the median response time.
        inattentive: `drop` excludes inattentive participants first, `keep` does not.

    Returns:
        Answers (schemas.ANSWER) to the questions with responses, in the order of the questions.
    """
    by_question: dict[str, list[dict]] = {}
    for row in drop_inattentive(responses, inattentive).to_pylist():
        by_question.setdefault(row["question_id"], []).append(row)
    answers = []
    for question_id in questions["question_id"].to_pylist():
        rows = by_question.get(question_id)
        if rows:
            rows = sorted(rows, key=lambda row: _hash(seed, question_id, row["participant"]))
            row = rows[0] if aggregation == "random" or len(rows) == 1 else _majority_vote(rows, seed)
            answers.append({**row, "respondent": respondent})
    return schemas.from_rows(answers, schemas.ANSWER, respondent)


def drop_inattentive(responses: pa.Table, inattentive: str) -> pa.Table:
    """Select the responses that count.

    Args:
        responses: Responses (schemas.RESPONSE).
        inattentive: `drop` excludes inattentive participants, `keep` does not.

    Returns:
        The selected responses.
    """
    if inattentive == "keep":
        return responses
    is_attentive = pc.invert(responses["inattentive"])  # pyright: ignore[reportAttributeAccessIssue]  # set at import
    return responses.filter(is_attentive)


def _majority_vote(responses: list[dict], seed: int) -> dict:
    """Return a response with the option that has the most votes; a response without a choice has no vote."""
    votes = Counter(row["choice"] for row in responses if row["choice"] is not None)
    max_votes = max(votes.values(), default=0)
    tied = [choice for choice, count in votes.items() if count == max_votes]
    choice = min(tied, key=lambda c: _hash(seed, responses[0]["question_id"], str(c)), default=None)
    seconds = sorted(row["seconds"] for row in responses if row["seconds"] is not None)
    median = (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2 if seconds else None
    return {**responses[0], "choice": choice, "seconds": median, "letter_logits": None, "text": None}


def _hash(seed: int, *parts: str) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *parts)).encode(), digest_size=16).digest()


def _parse_response(row: dict[str, str], header: list[str], options: list[str], condition: str) -> dict:
    """Return a row of schemas.RESPONSE; ValueError says what is wrong with it."""
    text = row.get("text")
    response: dict = {"question_id": row["question_id"], "participant": row.get("participant", "")}
    if "participant" in header and not row["participant"]:
        raise ValueError("participant is empty")
    response["condition"] = row.get("condition", condition)
    if response["condition"] not in CONDITIONS:
        raise ValueError(f"condition {quote(response['condition'])} is not one of {', '.join(CONDITIONS)}")
    response["choice"] = _parse_choice(row["choice"], options) if "choice" in header else parse_letter(text, options)
    response["text"] = text or None
    response["letter_logits"] = _parse_logits(row.get("letter_logits", ""), options)
    response["seconds"] = _parse_float(row, "seconds")
    for name in ("replays", "focus_lost", "load_failures", "order"):
        response[name] = _parse_count(row, name)
    if row.get("inattentive", "").lower() not in ("", "true", "false"):
        raise ValueError(f"inattentive {quote(row['inattentive'])} is neither true nor false")
    response["inattentive"] = row.get("inattentive", "").lower() == "true"
    return response


def _parse_choice(text: str, options: list[str]) -> int | None:
    if not text:
        return None
    index = (
        int(text)
        if re.fullmatch(r"[0-9]{1,3}", text)
        else LETTERS.find(text.upper())
        if re.fullmatch("[A-Za-z]", text)
        else -1
    )
    if not 0 <= index < len(options):
        last = len(options) - 1
        raise ValueError(f"choice {quote(text)} is neither an index 0 to {last} nor a letter A to {LETTERS[last]}")
    return index


def _parse_logits(text: str, options: list[str]) -> list[float] | None:
    if not text:
        return None
    values: list[float] | None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    is_valid = isinstance(values, list) and all(type(v) in (int, float) and abs(v) <= MAX_FLOAT32 for v in values)
    if values is None or not is_valid or len(values) != len(options):
        raise ValueError(f"letter_logits must be a JSON list of {len(options)} numbers, is {quote(text)}")
    return values


def _parse_float(row: dict[str, str], name: str) -> float | None:
    text = row.get(name, "")
    try:
        value = float(text) if text and "_" not in text else math.nan if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value < 1e9:
        raise ValueError(f"{name} {quote(text)} is not a number of 0 or more, below a billion")
    return value


def _parse_count(row: dict[str, str], name: str) -> int | None:
    text = row.get(name, "")
    if text and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{name} {quote(text)} is not a count of at most nine digits")
    return int(text) if text else None


def _preview(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_ERRORS_SHOWN]) + (", …" if len(names) > MAX_ERRORS_SHOWN else "")
