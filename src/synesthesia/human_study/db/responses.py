"""What may be answered to a step, and what is then written into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from synesthesia.config import Study
from synesthesia.human_study.db.stored_plan import Asked
from synesthesia.human_study.stimuli import tones

COMMENT_LENGTH = 2000
HEADPHONE_TRIES = 2


class BadAnswer(ValueError):
    """An answer that the step does not allow."""


@dataclass(frozen=True)
class Answer:
    """What a participant sent for a step; which fields count depends on the step's kind."""

    number: int
    key: str
    choice: int | None = None
    seconds: float = 0.0
    replays: int = 0
    focus_lost: int = 0
    load_failures: int = 0
    unplayable: bool = False
    picks: tuple[int, ...] = ()
    comment: str = ""


def filled(study: Study, questions: Mapping[str, Asked], step, answer: Answer) -> dict | None:
    """The new values of a step (a row of `step`); None where it has to be done again. Raises BadAnswer."""
    if step.kind in ("expect", "block"):
        return {}
    if step.kind == "comments":
        return {"said": json.dumps({"comment": answer.comment.strip()[:COMMENT_LENGTH]})}
    if step.kind == "sound":
        return {"choice": answer.choice} if answer.choice == json.loads(step.detail)["tones"] else None
    if step.kind == "headphones":
        if len(answer.picks) != len(tones.TARGETS) or not all(0 <= p < 3 for p in answer.picks):
            raise BadAnswer(f"picks must be {len(tones.TARGETS)} numbers from 0 to 2")
        right = sum(p == t for p, t in zip(answer.picks, tones.TARGETS, strict=True))
        said = {"picks": list(answer.picks), "right": right, "passed": right >= tones.PASS}
        if not said["passed"] and (step.replays or 0) + 1 < HEADPHONE_TRIES:
            return None
        return {"said": json.dumps(said)}
    if answer.unplayable:
        return {"released": True, "load_failures": answer.load_failures} if step.kind == "trial" else {}
    options = json.loads(step.detail)["options"] if step.kind == "check" else questions[step.question_id].options
    if answer.choice is None or not 0 <= answer.choice < len(options):
        raise BadAnswer(f"choice must be one of 0 to {len(options) - 1}")
    if answer.replays > study.replays:
        raise BadAnswer(f"replays must be at most {study.replays}")
    return {
        "choice": answer.choice,
        "seconds": answer.seconds,
        "replays": answer.replays,
        "focus_lost": answer.focus_lost,
        "load_failures": answer.load_failures,
    }
