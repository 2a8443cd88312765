"""The researcher's figures: how far the study is, how well the senses do, who dropped out, who was slow or careless."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select

from synesthesia import stats
from synesthesia.human_study import data_quality
from synesthesia.human_study.db.completed import failed_checks, finished_trials
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.web.app_state import Site
from synesthesia.schemas import CONDITIONS


@dataclass(frozen=True)
class Person:
    """A participant in a line of the table."""

    id: str
    state: str
    trials: int
    accuracy: float | None
    median_seconds: float | None
    minutes: int
    quiet_minutes: int
    headphones: str
    focus_lost: int
    load_failures: int
    careless: list[str]
    slow: bool


@dataclass(frozen=True)
class Progress:
    """Everything the page shows."""

    about: str
    state: str
    simulated: bool
    withdrawn: int
    judged: int
    trials: int
    under_way: int
    senses: list[tuple[str, int, stats.Interval | None, float | None]]  # condition, answers, accuracy, median s
    states: dict[str, int]
    people: list[Person]
    comments: list[tuple[str, str]]


def overview(site: Site) -> Progress:
    """Read the figures, in one snapshot."""
    now = time.time()
    with site.database.read() as connection:
        study = connection.execute(select(STUDY)).one()
        total = connection.scalar(select(func.count()).select_from(TRIAL))
        taken = connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken))
        answered, failed = finished_trials(connection), failed_checks(connection)
        participants = connection.execute(select(PARTICIPANT).order_by(PARTICIPANT.c.began_at, PARTICIPANT.c.id)).all()
        said = connection.execute(
            select(STEP.c.participant, STEP.c.kind, STEP.c.said).where(STEP.c.said.is_not(None))
        ).all()
    of: dict[str, list] = defaultdict(list)
    for row in answered:
        of[row.participant].append(row)
    notes = {(row.participant, row.kind): json.loads(row.said) for row in said}
    people = [_person(site, p, of[p.id], failed[p.id], notes.get((p.id, "headphones")), now) for p in participants]
    states: dict[str, int] = defaultdict(int)
    for person in people:
        states[person.state] += 1
    comments = [(p, text["comment"]) for (p, kind), text in notes.items() if kind == "comments" and text["comment"]]
    return Progress(
        about=study.about, state=study.state, simulated=study.simulated, withdrawn=study.withdrawn,
        judged=len(answered), trials=total, under_way=taken - len(answered), states=dict(states), people=people,
        senses=[_sense(c, [r for r in answered if r.condition == c]) for c in CONDITIONS], comments=comments,
    )  # fmt: skip


def _sense(condition: str, rows: list):
    right = sum(r.choice == r.truth for r in rows)
    interval = stats.wilson(right, len(rows)) if rows else None
    return condition, len(rows), interval, median(r.seconds for r in rows) if rows else None


def _person(site: Site, participant, rows: list, failed: int, headphones: dict | None, now: float) -> Person:
    seconds = [r.seconds for r in rows]
    heard = f"{headphones['right']} of {len(headphones['picks'])}" if headphones else "–"
    return Person(
        id=participant.id,
        state=participant.state,
        trials=len(rows),
        accuracy=sum(r.choice == r.truth for r in rows) / len(rows) if rows else None,
        median_seconds=median(seconds) if seconds else None,
        minutes=round((participant.seen_at - participant.began_at) / 60),
        quiet_minutes=round((now - participant.seen_at) / 60),
        headphones=heard,
        focus_lost=sum(r.focus_lost for r in rows),
        load_failures=sum(r.load_failures for r in rows),
        careless=data_quality.careless(site.study.careless, [r.choice for r in rows], seconds, failed),
        slow=data_quality.slow(seconds, site.study.slow_median_seconds),
    )
