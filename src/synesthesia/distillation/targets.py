"""What each finetune clip teaches the student (paper section 4.1 and Table 2).

Where the switch is closed the teacher is expected to know better, and the student learns the teacher's letter and/or
the teacher's logits. Where it is open the student learns its own original answer (anti-forgetting). Truth is used by
the upper bound alone, through the setting `labels: ground_truth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synesthesia.params import Setting
from synesthesia.tables import LETTERS


@dataclass(frozen=True)
class Targets:
    """Aligned with the rows of `questions`, clips that teach nothing left out.

    questions: tables.QUESTION; letters: int64 (n,), the option to say, -1 for none; soft: bool (n,), whether the
    teacher's logits are to be matched; teacher_logits: float32 (n, 10), -inf beyond the options, 0 where not soft.
    """

    questions: pa.Table
    letters: np.ndarray
    soft: np.ndarray
    teacher_logits: np.ndarray
    closed_share: float


class TargetError(ValueError):
    """Targets cannot be made: answers or routes are missing for some question."""


def targets(
    questions: pa.Table, setting: Setting, closed: dict[str, bool], teacher: pa.Table, own: pa.Table
) -> Targets:
    """Targets of one setting.

    questions: the finetune questions; closed: clip_id -> the teacher teaches here; teacher, own: the original
    answers (tables.ANSWER) of teacher and student to these questions. An answer that could not be read teaches
    nothing: in its place stands the student's own, if that may be learnt, or the clip is left out.
    """
    chosen = {name: _by_question(table, questions, name) for name, table in (("teacher", teacher), ("student", own))}
    letters, soft, logits, keep = [], [], [], []
    shut = 0
    rows = questions.select(["question_id", "clip_id", "answer"]).to_pylist()
    for index, row in enumerate(rows):
        if row["clip_id"] not in closed:
            raise TargetError(f"clip {row['clip_id']} has no route: run `dvc repro route`")
        teaching, mine = chosen["teacher"][row["question_id"]], chosen["student"][row["question_id"]]
        is_closed = closed[row["clip_id"]]
        shut += is_closed
        letter, match = -1, False
        if setting.labels == "ground_truth":
            letter = row["answer"]
        elif is_closed and teaching["choice"] is not None:
            if setting.labels == "teacher":
                letter = teaching["choice"]
            match = setting.kl and teaching["letter_logits"] is not None
            if setting.kl and not match:
                raise TargetError(f"{setting.teacher} gave no letter logits for {row['question_id']}; kl needs them")
        elif setting.anti_forgetting and mine["choice"] is not None:
            letter = mine["choice"]
        if letter < 0 and not match:
            continue
        keep.append(index)
        letters.append(letter)
        soft.append(match)
        values = np.full(len(LETTERS), -np.inf if match else 0.0, dtype=np.float32)
        if match:
            values[: len(teaching["letter_logits"])] = teaching["letter_logits"]
        logits.append(values)
    if not keep:
        raise TargetError(
            f"{setting.title}: no clip teaches anything (switch closed on {shut} of {len(rows)} clips); "
            "look at route.mode and the setting's labels, kl and anti_forgetting"
        )
    return Targets(
        questions.take(keep),
        np.array(letters, dtype=np.int64),
        np.array(soft, dtype=bool),
        np.stack(logits),
        shut / len(rows),
    )


def _by_question(answers: pa.Table, questions: pa.Table, who: str) -> dict[str, dict]:
    given = {r["question_id"]: r for r in answers.select(["question_id", "choice", "letter_logits"]).to_pylist()}
    lacking = [q for q in questions["question_id"].to_pylist() if q not in given]
    if lacking:
        raise TargetError(f"the {who} has not answered {len(lacking)} finetune questions, {lacking[0]} first")
    return given
