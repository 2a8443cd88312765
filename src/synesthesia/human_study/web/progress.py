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
from synesthesia.human_study.db.completed import count_failed_checks, load_completed_trials
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.web.app_state import AppState
from synesthesia.schemas import CONDITIONS


@dataclass(frozen=True)
class ParticipantSummary:
    """A participant in a line of the table."""

    id: str
    state: str
    n_trials: int
    accuracy: float | None
    median_seconds: float | None
    session_minutes: int
    quiet_minutes: int
    headphone_score: str
    focus_lost: int
    load_failures: int
    inattention_reasons: list[str]
    is_slow: bool


@dataclass(frozen=True)
class Progress:
    """Everything the page shows."""

    description: str
    state: str
    is_simulated: bool
    n_withdrawn: int
    n_completed: int
    n_trials: int
    n_in_progress: int
    condition_summaries: list[
        tuple[str, int, stats.Interval | None, float | None]
    ]  # condition, answers, accuracy, median s
    state_counts: dict[str, int]
    participants: list[ParticipantSummary]
    comments: list[tuple[str, str]]


def load_progress(app_state: AppState) -> Progress:
    """Read the figures, in one snapshot."""
    now = time.time()
    with app_state.database.read() as connection:
        study = connection.execute(select(STUDY)).one()
        total = connection.scalar(select(func.count()).select_from(TRIAL))
        taken = connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken))
        answered, failed = load_completed_trials(connection), count_failed_checks(connection)
        participants = connection.execute(select(PARTICIPANT).order_by(PARTICIPANT.c.began_at, PARTICIPANT.c.id)).all()
        said = connection.execute(
            select(STEP.c.participant, STEP.c.kind, STEP.c.said).where(STEP.c.said.is_not(None))
        ).all()
    of: dict[str, list] = defaultdict(list)
    for row in answered:
        of[row.participant].append(row)
    notes = {(row.participant, row.kind): json.loads(row.said) for row in said}
    people = [
        _summarize_participant(app_state, p, of[p.id], failed[p.id], notes.get((p.id, "headphones")), now)
        for p in participants
    ]
    states: dict[str, int] = defaultdict(int)
    for person in people:
        states[person.state] += 1
    comments = [(p, text["comment"]) for (p, kind), text in notes.items() if kind == "comments" and text["comment"]]
    return Progress(
        description=study.about, state=study.state, is_simulated=study.simulated, n_withdrawn=study.withdrawn,
        n_completed=len(answered), n_trials=total, n_in_progress=taken - len(answered), state_counts=dict(states), participants=people,
        condition_summaries=[_summarize_condition(c, [r for r in answered if r.condition == c]) for c in CONDITIONS], comments=comments,
    )  # fmt: skip


def _summarize_condition(condition: str, rows: list):
    right = sum(r.choice == r.truth for r in rows)
    interval = stats.wilson(right, len(rows)) if rows else None
    return condition, len(rows), interval, median(r.seconds for r in rows) if rows else None


def _summarize_participant(
    app_state: AppState, participant, rows: list, n_failed_checks: int, headphone_result: dict | None, now: float
) -> ParticipantSummary:
    seconds = [r.seconds for r in rows]
    heard = f"{headphone_result['right']} of {len(headphone_result['picks'])}" if headphone_result else "–"
    return ParticipantSummary(
        id=participant.id,
        state=participant.state,
        n_trials=len(rows),
        accuracy=sum(r.choice == r.truth for r in rows) / len(rows) if rows else None,
        median_seconds=median(seconds) if seconds else None,
        session_minutes=round((participant.seen_at - participant.began_at) / 60),
        quiet_minutes=round((now - participant.seen_at) / 60),
        headphone_score=heard,
        focus_lost=sum(r.focus_lost for r in rows),
        load_failures=sum(r.load_failures for r in rows),
        inattention_reasons=data_quality.inattention_reasons(
            app_state.config.inattention, [r.choice for r in rows], seconds, n_failed_checks
        ),
        is_slow=data_quality.is_slow(seconds, app_state.config.slow_median_seconds),
    )
