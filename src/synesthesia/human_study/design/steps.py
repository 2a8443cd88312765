"""A session as a list of steps, drawn when the participant joins.

What to expect, sound check, headphone test where it is asked for, practice, three blocks of trials with attention
checks in between, comments.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping

import numpy as np

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.stored_plan import StoredQuestion


def select_practice_questions(questions: Mapping[str, StoredQuestion]) -> list[StoredQuestion]:
    """The questions for practice, in their order."""
    return sorted(
        (q for q in questions.values() if q.practice_condition is not None), key=lambda q: q.practice_position
    )


def build_steps(
    config: HumanStudyConfig, questions: Mapping[str, StoredQuestion], participant: str, trials: list
) -> list[dict]:
    """Rows of `step`; `trials` are grouped by condition, in the blocks' order."""
    random = np.random.default_rng(secrets.randbits(64))
    steps: list[dict] = [{"kind": "expect"}, {"kind": "sound", "detail": {"tones": int(random.integers(3, 6))}}]
    if config.headphone_check != "off":
        steps.append({"kind": "headphones"})
    for question in select_practice_questions(questions):
        steps.append(
            {"kind": "practice", "question_id": question.question_id, "condition": question.practice_condition}
        )
    blocks = list(dict.fromkeys(t.condition for t in trials))
    checked = random.permutation(np.resize(random.permutation(len(blocks)), config.attention_checks))
    place = 0
    for block, condition in enumerate(blocks):
        steps.append({"kind": "block", "block": block, "condition": condition})
        mine = [t for t in trials if t.condition == condition]
        checks = Counter(int(random.integers(1, max(2, len(mine)))) for b in checked if b == block)
        for index, trial in enumerate(mine):
            for _ in range(checks[index]):
                steps.append({"kind": "check", "block": block, "condition": condition, "place": place,
                              "detail": _draw_attention_check(questions, random)})  # fmt: skip
            steps.append({"kind": "trial", "block": block, "condition": condition, "place": place,
                          "trial": trial.id, "question_id": trial.question_id})  # fmt: skip
            place += 1
    steps.append({"kind": "comments"})
    empty = dict.fromkeys(("block", "place", "trial", "question_id", "condition"))
    return [
        empty | step | {"participant": participant, "number": number, "released": False,
                        "detail": json.dumps(step.get("detail"))}
        for number, step in enumerate(steps)
    ]  # fmt: skip


def _draw_attention_check(questions: Mapping[str, StoredQuestion], rng) -> dict:
    """Ten labels and the letter to press."""
    labels = sorted({q.label for q in questions.values() if q.practice_condition is None})
    some = rng.permutation(labels)[:10]
    return {"options": [str(label) for label in some], "answer": int(rng.integers(len(some)))}
