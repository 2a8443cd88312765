"""Completed trials and failed attention checks, for progress figures and exports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, Row, func, select

from synesthesia.human_study.db.schema import QUESTION, STEP, TRIAL


def load_completed_trials(connection: Connection) -> Sequence[Row]:
    """Load the answered trials.

    Args:
        connection: An open transaction.

    Returns:
        Rows with the columns of `step` and the question's `label` and `target`, by participant and step number.
    """
    return connection.execute(
        select(STEP, QUESTION.c.label, QUESTION.c.target)
        .join(QUESTION, QUESTION.c.question_id == STEP.c.question_id)
        .where(STEP.c.kind == "trial", STEP.c.answered_at.is_not(None), STEP.c.is_released.is_(False))
        .order_by(STEP.c.participant, STEP.c.number)
    ).all()


def count_failed_checks(connection: Connection) -> Counter[str]:
    """Count the failed attention checks per participant.

    Args:
        connection: An open transaction.

    Returns:
        Counts by participant id; participants without failures are absent.
    """
    rows = connection.execute(
        select(STEP.c.participant, STEP.c.choice, STEP.c.detail).where(
            STEP.c.kind == "attention_check", STEP.c.answered_at.is_not(None)
        )
    ).all()
    return Counter(r.participant for r in rows if r.choice != json.loads(r.detail)["target"])


def count_unanswered_trials(connection: Connection) -> int:
    """Count the trials of the plan without an answer.

    Args:
        connection: An open transaction.

    Returns:
        The number of trials.
    """
    answered = (
        select(STEP.c.trial)
        .where(STEP.c.trial == TRIAL.c.id, STEP.c.is_released.is_(False), STEP.c.answered_at.is_not(None))
        .exists()
    )
    return connection.scalar(select(func.count()).select_from(TRIAL).where(~answered)) or 0
