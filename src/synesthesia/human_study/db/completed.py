"""What has been judged: the rows that figures and exports are made of."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import func, select

from synesthesia.human_study.db.schema import QUESTION, STEP, TRIAL


def load_completed_trials(connection) -> list:
    """Rows of every finished trial: step's columns with the question's label, answer, and the participant's state."""
    return connection.execute(
        select(STEP, QUESTION.c.label, QUESTION.c.answer.label("truth"))
        .join(QUESTION, QUESTION.c.question_id == STEP.c.question_id)
        .where(STEP.c.kind == "trial", STEP.c.answered_at.is_not(None), STEP.c.released.is_(False))
        .order_by(STEP.c.participant, STEP.c.number)
    ).all()


def count_failed_checks(connection) -> Counter:
    """How many attention checks each participant failed."""
    rows = connection.execute(
        select(STEP.c.participant, STEP.c.choice, STEP.c.detail).where(
            STEP.c.kind == "check", STEP.c.answered_at.is_not(None)
        )
    ).all()
    return Counter(r.participant for r in rows if r.choice != json.loads(r.detail)["answer"])


def count_unanswered_trials(connection) -> int:
    """How many trials of the plan have no answer yet."""
    judged = (
        select(STEP.c.trial)
        .where(STEP.c.trial == TRIAL.c.id, STEP.c.released.is_(False), STEP.c.answered_at.is_not(None))
        .exists()
    )
    return connection.scalar(select(func.count()).select_from(TRIAL).where(~judged))
