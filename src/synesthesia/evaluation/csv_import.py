"""Answers from files: one CSV of somebody's judgements in, checked `tables.JUDGEMENT` and `tables.ANSWER` out.

The CSV is UTF-8, comma-separated, its first line names the columns, in any order:

    question_id    as in out/make_questions/questions.parquet
    choice         the option's index 0 to 9 or its letter A to J; empty: none was chosen, counted as wrong
    text           instead of `choice`: what was said, read by `questions.parse_letter` and never guessed
    letter_logits  optional: a JSON list, one number an option, e.g. "[1.5, -0.2, ...]"
    seconds        optional: response time, 0 or more
    participant    optional: who of several judged; a random id
    condition      optional: audio, silent_video or sounded_video; without it all rows are of the respondent's own
    replays, focus_lost, load_failures, order    optional: counts, as the browser study exports them
    inattentive    optional: true or false

With both `choice` and `text`, `choice` is the answer and `text` what was said. The browser study's export is such a
file, and so is a table of another model's answers; an entry under `import_answers.respondents` in params.yaml points at it:

    kimi-audio: {title: Kimi-Audio, file: answers/kimi.csv, condition: audio, human: false}

Whatever is wrong stops with the line and the reason: a wrong answer that slips in would be counted as a true one.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from synesthesia import schemas
from synesthesia.questions.prompt import parse_letter
from synesthesia.schemas import CONDITIONS, LETTERS

COLUMNS = (*schemas.RESPONSE.names,)
SIMULATED = "simulated"  # participants (or a whole file) so named were made by a program; `mark_of` tells
MAX_ERRORS_SHOWN = 10  # how many offenders of a kind an error names


class ResponseError(ValueError):
    """A file of answers that cannot be used; the message names the file, the line and what is allowed."""


def read_responses(path: str | os.PathLike, questions: pa.Table, condition: str) -> pa.Table:
    """Judgements (tables.JUDGEMENT) of one condition out of a CSV about `questions` (tables.QUESTION).

    Raises JudgementError for a file that is missing, in another encoding or without the needed columns, for unknown
    questions, two judgements of one participant on one question, choices out of range, other impossible values, and
    for a file that holds simulated participants beside real ones. All of the file is checked, also the rows of other
    conditions.
    """
    path = Path(path)
    header, rows = _read_csv(path)
    asked = dict(zip(questions["question_id"].to_pylist(), questions["options"].to_pylist(), strict=True))
    unknown = Counter(row["question_id"] for _, row in rows if row["question_id"] not in asked)
    if unknown:
        raise ResponseError(
            f"{path}: {len(unknown)} unknown question ids in {sum(unknown.values())} rows: {_preview(unknown)}. They must "
            "be those of out/make_questions/questions.parquet; other clips or another ask.seed make other questions"
        )
    judged, problems = [], []
    for line, row in rows:
        try:
            judged.append(_parse_response(row, header, asked[row["question_id"]], condition))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        more = f"\n(and {len(problems) - MAX_ERRORS_SHOWN} more)" if len(problems) > MAX_ERRORS_SHOWN else ""
        raise ResponseError(
            f"{path}: {len(problems)} rows cannot be used\n" + "\n".join(problems[:MAX_ERRORS_SHOWN]) + more
        )
    keys = Counter((j["question_id"], j["participant"], j["condition"]) for j in judged)
    twice = [f"{q} ({c}" + (f", {p})" if p else ")") for (q, p, c), count in keys.items() if count > 1]
    if twice:
        raise ResponseError(
            f"{path}: {len(twice)} questions were judged twice by the same participant in the same condition: "
            f"{_preview(twice)}" + ("" if "participant" in header else ". Several people need a column `participant`")
        )
    if path.name.startswith(SIMULATED):
        judged = [{**j, "participant": f"{SIMULATED}-{j['participant'].removeprefix(SIMULATED + '-')}"} for j in judged]
    is_simulated((j["participant"] for j in judged), str(path))
    mine = sorted(
        (j for j in judged if j["condition"] == condition), key=lambda j: (j["question_id"], j["participant"])
    )
    return schemas.from_rows(mine, schemas.RESPONSE, str(path))


def is_simulated(participants: Iterable[str], name: str) -> bool:
    """Whether judgements are simulated: True for all, False for none; JudgementError where both kinds are mixed."""
    made = {participant.startswith(SIMULATED) for participant in participants}
    if len(made) > 1:
        raise ResponseError(
            f"{name}: simulated and real participants are mixed; simulated ones belong in no real study"
        )
    return made == {True}


def aggregate_responses(
    responses: pa.Table, questions: pa.Table, respondent: str, *, seed: int, aggregation: str, inattentive: str
) -> pa.Table:
    """One answer (tables.ANSWER) a judged question, in the order of `questions`.

    inattentive: `drop` drops the judgements of careless participants first, `keep` does not. aggregation: `random` takes
    one judgement of each question at random, so that accuracy is that of a single person and each clip counts once,
    as in the paper, where each was judged once; `majority` takes the option most often chosen, ties drawn, with the
    median response time. What is drawn follows from the seed, the question and the participant alone.
    """
    by_question: dict[str, list[dict]] = {}
    for row in drop_inattentive(responses, inattentive).to_pylist():
        by_question.setdefault(row["question_id"], []).append(row)
    rows = []
    for question_id in questions["question_id"].to_pylist():
        given = by_question.get(question_id)
        if given:
            given = sorted(given, key=lambda row: _hash(seed, question_id, row["participant"]))
            chosen = given[0] if aggregation == "random" or len(given) == 1 else _majority_vote(given, seed)
            rows.append({**chosen, "respondent": respondent})
    return schemas.from_rows(rows, schemas.ANSWER, respondent)


def drop_inattentive(responses: pa.Table, inattentive: str) -> pa.Table:
    """The judgements that count: without those of careless participants where `inattentive` is `drop`."""
    return responses if inattentive == "keep" else responses.filter(pa.compute.invert(responses["inattentive"]))


def _majority_vote(responses: list[dict], seed: int) -> dict:
    """The option most often chosen; a judgement without a choice has no vote."""
    votes = Counter(row["choice"] for row in responses if row["choice"] is not None)
    most = max(votes.values(), default=0)
    tied = [choice for choice, count in votes.items() if count == most]
    choice = min(tied, key=lambda c: _hash(seed, responses[0]["question_id"], str(c)), default=None)
    seconds = sorted(row["seconds"] for row in responses if row["seconds"] is not None)
    middle = (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2 if seconds else None
    return {**responses[0], "choice": choice, "seconds": middle, "letter_logits": None, "text": None}


def _hash(seed: int, *parts: str) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *parts)).encode(), digest_size=16).digest()


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Header, and rows with their line numbers; blank lines are passed over."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ResponseError(f"{path} is missing: put the CSV there or mend its entry in import_answers.respondents") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ResponseError(
            f"{path}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise ResponseError(f"{path} is not text (it holds zero bytes); save the file as CSV in UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        rows = []
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ResponseError(f"{path}: line {reader.line_num} has {len(cells)} cells, the header {len(header)}")
            rows.append((reader.line_num, {k: v.strip() for k, v in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise ResponseError(f"{path}: line {reader.line_num}: {error}") from None
    return header, rows


def _check_header(header: list[str], path: Path) -> None:
    if len(header) == 1 and re.search("[;\t]", header[0]):
        raise ResponseError(f"{path}: columns must be separated by commas, the first line is {header[0][:80]!r}")
    wrong = []
    for name in dict.fromkeys(header):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            wrong.append(f"unknown column {name!r}" + (f", did you mean {near[0]}?" if near else ""))
        elif header.count(name) > 1:
            wrong.append(f"column {name} stands twice")
    if "question_id" not in header:
        wrong.append("no column question_id")
    if not {"choice", "text"} & set(header):
        wrong.append("no column choice (or text)")
    if wrong:
        raise ResponseError(f"{path}: {'; '.join(wrong)}. Known columns: {', '.join(COLUMNS)}")


def _parse_response(row: dict[str, str], header: list[str], options: list[str], condition: str) -> dict:
    """One checked row; ValueError says what is wrong with it."""
    text = row.get("text")
    judged: dict = {"question_id": row["question_id"], "participant": row.get("participant", "")}
    if "participant" in header and not row["participant"]:
        raise ValueError("participant is empty")
    judged["condition"] = row.get("condition", condition)
    if judged["condition"] not in CONDITIONS:
        raise ValueError(f"condition {judged['condition']!r} is not one of {', '.join(CONDITIONS)}")
    judged["choice"] = _parse_choice(row["choice"], options) if "choice" in header else parse_letter(text, options)
    judged["text"] = text or None
    judged["letter_logits"] = _parse_logits(row.get("letter_logits", ""), options)
    judged["seconds"] = _parse_float(row, "seconds")
    for name in ("replays", "focus_lost", "load_failures", "order"):
        judged[name] = _parse_count(row, name)
    if row.get("inattentive", "").lower() not in ("", "true", "false"):
        raise ValueError(f"inattentive {row['inattentive']!r} is neither true nor false")
    judged["inattentive"] = row.get("inattentive", "").lower() == "true"
    return judged


def _parse_choice(text: str, options: list[str]) -> int | None:
    if not text:
        return None
    index = int(text) if re.fullmatch(r"[0-9]{1,3}", text) else LETTERS.find(text.upper()) if len(text) == 1 else -1
    if not 0 <= index < len(options):
        last = len(options) - 1
        raise ValueError(f"choice {text!r} is neither an index 0 to {last} nor a letter A to {LETTERS[last]}")
    return index


def _parse_logits(text: str, options: list[str]) -> list[float] | None:
    if not text:
        return None
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    numbers = isinstance(values, list) and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    if not numbers or len(values) != len(options):
        raise ValueError(f"letter_logits must be a JSON list of {len(options)} numbers, is {text[:60]!r}")
    return values


def _parse_float(row: dict[str, str], name: str) -> float | None:
    text = row.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value < 1e9:
        raise ValueError(f"{name} {text!r} is no number of 0 or more")
    return value


def _parse_count(row: dict[str, str], name: str) -> int | None:
    text = row.get(name, "")
    if text and not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{name} {text!r} is no count")
    return int(text) if text else None


def _preview(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_ERRORS_SHOWN]) + (", …" if len(names) > MAX_ERRORS_SHOWN else "")
