"""What may be answered to a step, and what is then written into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.stimuli import tones

MAX_COMMENT_LENGTH = 2000
MAX_HEADPHONE_ATTEMPTS = 2


class InvalidAnswerError(ValueError):
    """An answer that the step does not allow."""


@dataclass(frozen=True)
class Answer:
    """What a participant sent for a step; which fields count depends on the step's kind."""

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
    config: HumanStudyConfig, questions: Mapping[str, StoredQuestion], step, answer: Answer
) -> dict | None:
    """The new values of a step (a row of `step`); None where it has to be done again. Raises BadAnswer."""
    if step.kind in ("expect", "block"):
        return {}
    if step.kind == "comments":
        return {"said": json.dumps({"comment": answer.comment.strip()[:MAX_COMMENT_LENGTH]})}
    if step.kind == "sound":
        return {"choice": answer.choice} if answer.choice == json.loads(step.detail)["tones"] else None
    if step.kind == "headphones":
        if len(answer.picks) != len(tones.TARGET_INTERVALS) or not all(0 <= p < 3 for p in answer.picks):
            raise InvalidAnswerError(f"picks must be {len(tones.TARGET_INTERVALS)} numbers from 0 to 2")
        right = sum(p == t for p, t in zip(answer.picks, tones.TARGET_INTERVALS, strict=True))
        said = {"picks": list(answer.picks), "right": right, "passed": right >= tones.PASS_SCORE}
        if not said["passed"] and (step.replays or 0) + 1 < MAX_HEADPHONE_ATTEMPTS:
            return None
        return {"said": json.dumps(said)}
    if answer.is_unplayable:
        return {"released": True, "load_failures": answer.load_failures} if step.kind == "trial" else {}
    options = json.loads(step.detail)["options"] if step.kind == "check" else questions[step.question_id].options
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
