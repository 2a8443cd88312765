"""Validation of answers, and the values that an answer writes into its step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Row

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.stimuli import tones

MAX_COMMENT_LENGTH = 2000
MAX_HEADPHONE_ATTEMPTS = 2


class InvalidAnswerError(ValueError):
    """The step does not allow the answer."""


@dataclass(frozen=True)
class Answer:
    """A participant's answer to a step; the step's kind decides which fields count."""

    number: int
    idempotency_key: str
    choice: int | None = None
    seconds: float = 0.0
    replays: int = 0
    focus_lost: int = 0
    load_failures: int = 0
    is_unplayable: bool = False
    picks: tuple[int, ...] = ()
    comment: str = ""


def apply_answer(
    config: HumanStudyConfig, questions: Mapping[str, StoredQuestion], step: Row, answer: Answer
) -> dict | None:
    """Validate an answer and compute the step's new values.

    Args:
        config: Study parameters.
        questions: Questions by id.
        step: The row of `step` to be answered.
        answer: The participant's answer.

    Returns:
        Column values of `step`, or None if the step (a sound or headphone check) has to be repeated.

    Raises:
        InvalidAnswerError: The step does not allow the answer.
    """
    if step.kind in ("instructions", "block_intro"):
        return {}
    if step.kind == "comments":
        return {"response": json.dumps({"comment": answer.comment.strip()[:MAX_COMMENT_LENGTH]})}
    if step.kind == "sound_check":
        return {"choice": answer.choice} if answer.choice == json.loads(step.detail)["n_tones"] else None
    if step.kind == "headphone_check":
        if len(answer.picks) != len(tones.TARGET_INTERVALS) or not all(0 <= p < 3 for p in answer.picks):
            raise InvalidAnswerError(f"picks must be {len(tones.TARGET_INTERVALS)} numbers from 0 to 2")
        n_correct = sum(p == t for p, t in zip(answer.picks, tones.TARGET_INTERVALS, strict=True))
        has_passed = n_correct >= tones.PASS_SCORE
        if not has_passed and (step.replays or 0) + 1 < MAX_HEADPHONE_ATTEMPTS:
            return None
        response = {"picks": list(answer.picks), "n_correct": n_correct, "has_passed": has_passed}
        return {"response": json.dumps(response)}
    if answer.is_unplayable:
        return {"is_released": True, "load_failures": answer.load_failures} if step.kind == "trial" else {}
    is_check = step.kind == "attention_check"
    options = json.loads(step.detail)["options"] if is_check else questions[step.question_id].options
    if answer.choice is None or not 0 <= answer.choice < len(options):
        raise InvalidAnswerError(f"choice must be one of 0 to {len(options) - 1}")
    if answer.replays > config.max_replays:
        raise InvalidAnswerError(f"replays must be at most {config.max_replays}")
    return {
        "choice": answer.choice,
        "seconds": answer.seconds,
        "replays": answer.replays,
        "focus_lost": answer.focus_lost,
        "load_failures": answer.load_failures,
    }
