"""What each finetune clip teaches the student (paper section 4.1 and Table 2).

Where the switch is closed the teacher is expected to know better, and the student learns the teacher's letter and/or
the teacher's logits. Where it is open the student learns its own original answer (anti-forgetting). Truth is used by
the upper bound alone, through the setting `labels: ground_truth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synesthesia.config import DistillSetting
from synesthesia.schemas import LETTERS


@dataclass(frozen=True)
class Targets:
    """Aligned with the rows of `questions`, clips that teach nothing left out.

    questions: tables.QUESTION; letters: int64 (n,), the option to say, -1 for none; soft: bool (n,), whether the
    teacher's logits are to be matched; teacher_logits: float32 (n, 10), -inf beyond the options, 0 where not soft;
    tokens: None where these are the letters' logits; or int64 (n, k), whose logits (n, k) they are: the teacher's
    likeliest tokens, filled up with token 0 and -inf.
    """

    questions: pa.Table
    labels: np.ndarray
    kl_mask: np.ndarray
    teacher_logits: np.ndarray
    teacher_fraction: float
    token_ids: np.ndarray | None = None


class TargetError(ValueError):
    """Targets cannot be made: answers or routes are missing for some question."""


def make_targets(
    questions: pa.Table,
    setting: DistillSetting,
    teacher_on: dict[str, bool],
    teacher_answers: pa.Table,
    student_answers: pa.Table,
    shared_token_ids: set[int] | None = None,
) -> Targets:
    """Targets of one setting.

    questions: the finetune questions; closed: clip_id -> the teacher teaches here; teacher, own: the original
    answers (tables.ANSWER) of teacher and student to these questions. An answer that could not be read teaches
    nothing: in its place stands the student's own, if that may be learnt, or the clip is left out. shared: where given,
    the logits to match are not the letters' but those of the teacher's likeliest tokens that are among these ids.
    """
    chosen = {
        name: _index_by_question(table, questions, name)
        for name, table in (("teacher", teacher_answers), ("student", student_answers))
    }
    letters, soft, logits, tokens, keep = [], [], [], [], []
    shut = 0
    rows = questions.select(["question_id", "clip_id", "answer"]).to_pylist()
    for index, row in enumerate(rows):
        if row["clip_id"] not in teacher_on:
            raise TargetError(f"clip {row['clip_id']} has no route: run `dvc repro route`")
        teaching, mine = chosen["teacher"][row["question_id"]], chosen["student"][row["question_id"]]
        is_closed = teacher_on[row["clip_id"]]
        shut += is_closed
        letter, match = -1, False
        if setting.labels == "ground_truth":
            letter = row["answer"]
        elif is_closed and teaching["choice"] is not None:
            if setting.labels == "teacher":
                letter = teaching["choice"]
            match = setting.kl
            if match and teaching["letter_logits"] is None:
                raise TargetError(f"{setting.teacher} gave no letter logits for {row['question_id']}; kl needs them")
        elif setting.anti_forgetting and mine["choice"] is not None:
            letter = mine["choice"]
        if letter < 0 and not match:
            continue
        keep.append(index)
        letters.append(letter)
        soft.append(match)
        if shared_token_ids is None:
            logits.append(teaching["letter_logits"] if match else [])
            continue
        kept = _select_shared_tokens(teaching, shared_token_ids, setting.teacher, row["question_id"]) if match else []
        logits.append([value for _, value in kept])
        tokens.append([token for token, _ in kept])
    if not keep:
        raise TargetError(
            f"{setting.title}: no clip teaches anything (switch closed on {shut} of {len(rows)} clips); "
            "look at route.mode and the setting's labels, kl and anti_forgetting"
        )
    width = len(LETTERS) if shared_token_ids is None else max(1, *map(len, tokens))
    values = np.where(np.array(soft)[:, None], -np.inf, np.zeros((1, width))).astype(np.float32)
    ids = np.zeros((len(keep), width), dtype=np.int64)
    for into, lists in ((values, logits), (ids, tokens)):
        for row, found in zip(into, lists, strict=False):
            row[: len(found)] = found
    return Targets(
        questions.take(keep),
        np.array(letters, dtype=np.int64),
        np.array(soft, dtype=bool),
        values,
        shut / len(rows),
        None if shared_token_ids is None else ids,
    )


def _select_shared_tokens(
    answer: dict, shared_token_ids: set[int], teacher_name: str, question_id: str
) -> list[tuple[int, float]]:
    """The teacher's likeliest tokens and their logits that the student's vocabulary has under the same id."""
    if answer["token_ids"] is None:
        raise TargetError(
            f"{teacher_name} gave no logits of its likeliest tokens for {question_id}; distill.training.kl_over needs them"
        )
    pairs = zip(answer["token_ids"], answer["token_logits"], strict=True)
    kept = [(token, value) for token, value in pairs if token in shared_token_ids]
    if len(kept) < 2:
        raise TargetError(
            f"of {teacher_name}'s likeliest tokens for {question_id}, the student's vocabulary has {len(kept)} under the same "
            "id: too few to match; use distill.training.kl_over: letters"
        )
    return kept


def _index_by_question(answers: pa.Table, questions: pa.Table, respondent: str) -> dict[str, dict]:
    columns = ["question_id", "choice", "letter_logits", "token_ids", "token_logits"]
    given = {r["question_id"]: r for r in answers.select(columns).to_pylist()}
    lacking = [q for q in questions["question_id"].to_pylist() if q not in given]
    if lacking:
        raise TargetError(f"the {respondent} has not answered {len(lacking)} finetune questions, {lacking[0]} first")
    return given
