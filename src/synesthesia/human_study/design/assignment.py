"""Assignment of trials to a new participant: a free slot of the plan, or released trials once all slots are assigned.

Both functions return rows of `trial` grouped by condition in block order. Callers hold the lock of the `study` row, so
that one participant joins at a time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, Row, select, update

from synesthesia.human_study.db.schema import SLOT, TRIAL
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.schemas import CONDITIONS


def take_slot(connection: Connection) -> Sequence[Row]:
    """Assign the first free slot.

    Args:
        connection: A write transaction.

    Returns:
        The slot's trials by position; empty if all slots are assigned.
    """
    number = connection.scalar(select(SLOT.c.number).where(~SLOT.c.is_assigned).order_by(SLOT.c.number).limit(1))
    if number is None:
        return []
    connection.execute(update(SLOT).where(SLOT.c.number == number).values(is_assigned=True))
    is_free = (TRIAL.c.slot == number) & ~TRIAL.c.is_assigned
    trials = connection.execute(select(TRIAL).where(is_free).order_by(TRIAL.c.position)).all()
    connection.execute(update(TRIAL).where(is_free).values(is_assigned=True))
    return trials


def take_released_trials(
    connection: Connection, questions: Mapping[str, StoredQuestion], max_trials: int
) -> Sequence[Row]:
    """Assign trials that other participants left, each clip at most once, with labels as even as possible.

    Args:
        connection: A write transaction.
        questions: Questions by id.
        max_trials: Maximum number of trials, a multiple of three; a third of it limits each condition.

    Returns:
        The trials, grouped by condition in a random order; empty if none is free.
    """
    free = connection.execute(select(TRIAL).where(~TRIAL.c.is_assigned).order_by(TRIAL.c.id)).all()
    block_size = max_trials // 3
    rng = np.random.default_rng(secrets.randbits(64))
    selected: list[Row] = []
    clips: set[str] = set()
    labels, conditions = Counter(), Counter()
    candidates = [free[int(i)] for i in rng.permutation(len(free))]
    while candidates and len(selected) < max_trials:
        candidates = [t for t in candidates if questions[t.question_id].clip_id not in clips]
        candidates = [t for t in candidates if conditions[t.condition] < block_size]
        if not candidates:
            break
        best = min(candidates, key=lambda t: (labels[questions[t.question_id].label], conditions[t.condition]))
        question = questions[best.question_id]
        selected.append(best)
        clips.add(question.clip_id)
        labels[question.label] += 1
        conditions[best.condition] += 1
    if selected:
        connection.execute(update(TRIAL).where(TRIAL.c.id.in_([t.id for t in selected])).values(is_assigned=True))
    block_order = {CONDITIONS[c]: n for n, c in enumerate(rng.permutation(3))}
    return sorted(selected, key=lambda t: block_order[t.condition])
