"""A session as a list of steps, drawn when the participant joins.

Instructions, sound check, headphone check if enabled, practice, three blocks of trials with attention checks among
them, comments.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import Row

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.stored_plan import StoredQuestion


def select_practice_questions(questions: Mapping[str, StoredQuestion]) -> list[StoredQuestion]:
    """Select the practice questions.

    Args:
        questions: Questions by id.

    Returns:
        The practice questions by position.
    """
    practice = [q for q in questions.values() if q.practice_position is not None]
    return sorted(practice, key=lambda q: q.practice_position or 0)


def build_steps(
    config: HumanStudyConfig, questions: Mapping[str, StoredQuestion], participant: str, trials: Sequence[Row]
) -> list[dict]:
    """Build the steps of a session, with random attention checks and a random number of tones.

    Args:
        config: Study parameters.
        questions: Questions by id.
        participant: Participant id.
        trials: Rows of `trial`, grouped by condition in block order.

    Returns:
        Rows of `step`.
    """
    rng = np.random.default_rng(secrets.randbits(64))
    steps: list[dict] = [
        {"kind": "instructions"},
        {"kind": "sound_check", "detail": {"n_tones": int(rng.integers(3, 6))}},
    ]
    if config.headphone_check != "off":
        steps.append({"kind": "headphone_check"})
    for question in select_practice_questions(questions):
        steps.append(
            {"kind": "practice", "question_id": question.question_id, "condition": question.practice_condition}
        )
    blocks = list(dict.fromkeys(t.condition for t in trials))
    check_blocks = rng.permutation(np.resize(rng.permutation(len(blocks)), config.attention_checks))
    position = 0
    for block, condition in enumerate(blocks):
        steps.append({"kind": "block_intro", "block": block, "condition": condition})
        block_trials = [t for t in trials if t.condition == condition]
        n_checks = Counter(int(rng.integers(1, max(2, len(block_trials)))) for b in check_blocks if b == block)
        for index, trial in enumerate(block_trials):
            for _ in range(n_checks[index]):
                steps.append({"kind": "attention_check", "block": block, "condition": condition, "position": position,
                              "detail": _draw_attention_check(questions, rng)})  # fmt: skip
            steps.append({"kind": "trial", "block": block, "condition": condition, "position": position,
                          "trial": trial.id, "question_id": trial.question_id})  # fmt: skip
            position += 1
    steps.append({"kind": "comments"})
    defaults = dict.fromkeys(("block", "position", "trial", "question_id", "condition"))
    return [
        defaults | step | {"participant": participant, "number": number, "is_released": False,
                           "detail": json.dumps(step.get("detail"))}
        for number, step in enumerate(steps)
    ]  # fmt: skip


def _draw_attention_check(questions: Mapping[str, StoredQuestion], rng: np.random.Generator) -> dict:
    """Draw up to ten labels and the index of the one to choose."""
    labels = sorted({q.label for q in questions.values() if q.practice_condition is None})
    options = rng.permutation(labels)[:10]
    return {"options": [str(label) for label in options], "target": int(rng.integers(len(options)))}
