"""Training targets of each finetune clip (paper section 4.1 and Table 2).

Where the switch is closed the teacher is expected to be better: the student is trained on the teacher's letter, on the
teacher's logits, or on both. Where it is open the student is trained on its own original answer (anti-forgetting).
Only the upper bound, setting `labels: ground_truth`, uses the correct answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from synesthesia.config import DistillSetting
from synesthesia.schemas import LETTERS


@dataclass(frozen=True)
class Targets:
    """Targets per question. Clips without any target are left out.

    Attributes:
        questions: Questions (schemas.QUESTION), n rows.
        labels: int64 (n,), index of the option to answer; -1 where there is none.
        kl_mask: bool (n,), whether the teacher's logits are matched.
        teacher_logits: float32 (n, tokens); -inf beyond a clip's tokens, 0 where `kl_mask` is false.
        teacher_fraction: Fraction of all clips where the teacher supervises (the switch is closed).
        token_ids: None if the tokens are the ten letters; else int64 (n, tokens), the teacher's top-k tokens, padded
            with token 0.
    """

    questions: pa.Table
    labels: np.ndarray
    kl_mask: np.ndarray
    teacher_logits: np.ndarray
    teacher_fraction: float
    token_ids: np.ndarray | None = None


class TargetError(ValueError):
    """Targets cannot be made; the message names the missing answers or routes."""


def make_targets(
    questions: pa.Table,
    setting: DistillSetting,
    teacher_on: dict[str, bool],
    teacher_answers: pa.Table,
    student_answers: pa.Table,
    shared_token_ids: set[int] | None = None,
) -> Targets:
    """Make the targets of one setting.

    An unparseable teacher answer gives no target: the student's own answer replaces it if the setting has
    anti-forgetting, otherwise the clip is left out.

    Args:
        questions: The finetune questions (schemas.QUESTION).
        setting: Which labels and logits supervise.
        teacher_on: clip_id -> whether the teacher supervises (the switch is closed).
        teacher_answers: The teacher's answers (schemas.ANSWER) to these questions.
        student_answers: The original student's answers (schemas.ANSWER) to these questions.
        shared_token_ids: None to match the letters' logits; else the ids that both vocabularies share, to match the
            logits of the teacher's top-k tokens among them.

    Returns:
        The targets, in the order of the questions.

    Raises:
        TargetError: Answers, routes or logits are missing, or no clip has a target.
    """
    teacher_by_question = _index_by_question(teacher_answers, questions, "teacher")
    student_by_question = _index_by_question(student_answers, questions, "student")
    labels, kl_mask, logits, tokens, keep = [], [], [], [], []
    num_closed = 0
    rows = questions.select(["question_id", "clip_id", "target"]).to_pylist()
    for index, row in enumerate(rows):
        question_id, clip_id = row["question_id"], row["clip_id"]
        if clip_id not in teacher_on:
            raise TargetError(f"clip {clip_id} has no route: run `dvc repro route`")
        teacher, student = teacher_by_question[question_id], student_by_question[question_id]
        is_closed = teacher_on[clip_id]
        num_closed += is_closed
        label, use_kl = -1, False
        if setting.labels == "ground_truth":
            label = row["target"]
        elif is_closed and teacher["choice"] is not None:
            if setting.labels == "teacher":
                label = teacher["choice"]
            use_kl = setting.kl
            if use_kl and teacher["letter_logits"] is None:
                raise TargetError(f"{setting.teacher} gave no letter logits for {question_id}; kl needs them")
        elif setting.anti_forgetting and student["choice"] is not None:
            label = student["choice"]
        if label < 0 and not use_kl:
            continue
        keep.append(index)
        labels.append(label)
        kl_mask.append(use_kl)
        if shared_token_ids is None:
            logits.append(teacher["letter_logits"] if use_kl else [])
            continue
        pairs = _select_shared_tokens(teacher, shared_token_ids, setting.teacher, question_id) if use_kl else []
        tokens.append([token for token, _ in pairs])
        logits.append([logit for _, logit in pairs])
    if not keep:
        raise TargetError(
            f"{setting.title}: no clip has a target (switch closed on {num_closed} of {len(rows)} clips); "
            "look at route.mode and the setting's labels, kl and anti_forgetting"
        )
    width = len(LETTERS) if shared_token_ids is None else max(1, *map(len, tokens))
    teacher_logits = np.where(np.array(kl_mask)[:, None], -np.inf, np.zeros((1, width))).astype(np.float32)
    token_ids = np.zeros((len(keep), width), dtype=np.int64)
    for array, ragged_rows in ((teacher_logits, logits), (token_ids, tokens)):
        for array_row, values in zip(array, ragged_rows, strict=False):  # no tokens where the letters are matched
            array_row[: len(values)] = values
    return Targets(
        questions.take(keep),
        np.array(labels, dtype=np.int64),
        np.array(kl_mask, dtype=bool),
        teacher_logits,
        num_closed / len(rows),
        None if shared_token_ids is None else token_ids,
    )


def _select_shared_tokens(
    answer: dict, shared_token_ids: set[int], teacher_name: str, question_id: str
) -> list[tuple[int, float]]:
    """Select the teacher's top-k tokens that the student's vocabulary has under the same id.

    Returns:
        Pairs of token id and logit, at least two.
    """
    if answer["token_ids"] is None:
        raise TargetError(
            f"{teacher_name} gave no logits of its top-k tokens for {question_id}; "
            "distill.training.kl_support: top_k needs them"
        )
    pairs = zip(answer["token_ids"], answer["token_logits"], strict=True)
    shared = [(token, logit) for token, logit in pairs if token in shared_token_ids]
    if len(shared) < 2:
        raise TargetError(
            f"of {teacher_name}'s top-k tokens for {question_id}, the student's vocabulary has {len(shared)} under the "
            "same id: too few to match; use distill.training.kl_support: letters"
        )
    return shared


def _index_by_question(answers: pa.Table, questions: pa.Table, respondent: str) -> dict[str, dict]:
    columns = ["question_id", "choice", "letter_logits", "token_ids", "token_logits"]
    by_question = {row["question_id"]: row for row in answers.select(columns).to_pylist()}
    missing = [q for q in questions["question_id"].to_pylist() if q not in by_question]
    if missing:
        raise TargetError(f"the {respondent} has not answered {len(missing)} finetune questions, {missing[0]} first")
    return by_question
