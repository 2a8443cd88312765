"""Which trials a newcomer gets: a free seat of the plan, or what others left when no seat is free.

Both give rows of `trial`, grouped by condition in the order of the blocks, and are called by one who joins at a time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping

import numpy as np
from sqlalchemy import select, update

from synesthesia.human_study.db.schema import SLOT, TRIAL
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.schemas import CONDITIONS


def take_slot(connection) -> list:
    """The trials of the first free seat, taken; empty where all seats are."""
    free = select(SLOT.c.number).where(~SLOT.c.taken).order_by(SLOT.c.number).limit(1)
    number = connection.scalar(free)
    if number is None:
        return []
    connection.execute(update(SLOT).where(SLOT.c.number == number).values(taken=True))
    of_seat = (TRIAL.c.seat == number) & ~TRIAL.c.taken
    trials = connection.execute(select(TRIAL).where(of_seat).order_by(TRIAL.c.place)).all()
    connection.execute(update(TRIAL).where(of_seat).values(taken=True))
    return trials


def take_released_trials(connection, questions: Mapping[str, StoredQuestion], max_trials: int) -> list:
    """Free trials that others left, up to `most`, taken: no clip twice, labels as even as they allow."""
    free = connection.execute(select(TRIAL).where(~TRIAL.c.taken).order_by(TRIAL.c.id)).all()
    block = max_trials // 3
    random = np.random.default_rng(secrets.randbits(64))
    chosen, clips, labels, conditions = [], set(), Counter(), Counter()
    left = [free[i] for i in random.permutation(len(free))]
    while left and len(chosen) < max_trials:
        left = [t for t in left if questions[t.question_id].clip_id not in clips]
        left = [t for t in left if conditions[t.condition] < block]
        if not left:
            break
        best = min(left, key=lambda t: (labels[questions[t.question_id].label], conditions[t.condition]))
        question = questions[best.question_id]
        chosen.append(best)
        clips.add(question.clip_id)
        labels[question.label] += 1
        conditions[best.condition] += 1
    if chosen:
        connection.execute(update(TRIAL).where(TRIAL.c.id.in_([t.id for t in chosen])).values(taken=True))
    order = {CONDITIONS[c]: n for n, c in enumerate(random.permutation(3))}
    return sorted(chosen, key=lambda t: order[t.condition])
