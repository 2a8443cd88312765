"""Progress figures for the researcher's page: completion, accuracy per condition, participants, comments."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import Row, func, select

from synesthesia import stats
from synesthesia.human_study import data_quality
from synesthesia.human_study.db.completed import count_failed_checks, load_completed_trials
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.web.app_state import AppState
from synesthesia.schemas import CONDITIONS


@dataclass(frozen=True)
class ParticipantSummary:
    """A row of the participant table.

    Attributes:
        id: Participant id.
        state: State of the session.
        n_trials: Number of completed trials.
        accuracy: Fraction of correct responses; None without trials.
        median_seconds: Median response time; None without trials.
        session_minutes: Minutes from joining to the last activity.
        idle_minutes: Minutes since the last activity.
        headphone_score: Result of the headphone check, as text.
        focus_lost: How often the page lost focus during trials.
        load_failures: How often a stimulus failed to load.
        inattention_reasons: Criteria of inattention that the participant meets.
        is_slow: Whether the median response time is above the threshold.
    """

    id: str
    state: str
    n_trials: int
    accuracy: float | None
    median_seconds: float | None
    session_minutes: int
    idle_minutes: int
    headphone_score: str
    focus_lost: int
    load_failures: int
    inattention_reasons: list[str]
    is_slow: bool


@dataclass(frozen=True)
class Progress:
    """The figures of the page.

    Attributes:
        description: The plan in words.
        state: State of the study.
        is_simulated: Whether participants are simulated.
        n_withdrawn: Number of withdrawn participants.
        n_completed: Number of completed trials.
        n_trials: Number of trials of the plan.
        n_in_progress: Number of assigned trials without an answer.
        condition_summaries: (condition, number of responses, accuracy, median response time in s) per condition.
        state_counts: Number of participants by session state.
        participants: Participants in the order of joining.
        comments: (participant id, comment) pairs.
    """

    description: str
    state: str
    is_simulated: bool
    n_withdrawn: int
    n_completed: int
    n_trials: int
    n_in_progress: int
    condition_summaries: list[tuple[str, int, stats.Interval | None, float | None]]
    state_counts: dict[str, int]
    participants: list[ParticipantSummary]
    comments: list[tuple[str, str]]


def load_progress(app_state: AppState) -> Progress:
    """Load the figures, in one snapshot.

    Args:
        app_state: State of the server process.

    Returns:
        The figures.
    """
    now = time.time()
    with app_state.database.read() as connection:
        study = connection.execute(select(STUDY)).one()
        n_trials = connection.scalar(select(func.count()).select_from(TRIAL)) or 0
        n_assigned = connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.is_assigned)) or 0
        completed, n_failed_checks = load_completed_trials(connection), count_failed_checks(connection)
        participants = connection.execute(
            select(PARTICIPANT).order_by(PARTICIPANT.c.started_at, PARTICIPANT.c.id)
        ).all()
        response_rows = connection.execute(
            select(STEP.c.participant, STEP.c.kind, STEP.c.response).where(STEP.c.response.is_not(None))
        ).all()
    rows_by_participant: dict[str, list[Row]] = defaultdict(list)
    for row in completed:
        rows_by_participant[row.participant].append(row)
    responses = {(row.participant, row.kind): json.loads(row.response) for row in response_rows}
    summaries = [
        _summarize_participant(app_state, p, rows_by_participant[p.id], n_failed_checks[p.id],
                               responses.get((p.id, "headphone_check")), now)
        for p in participants
    ]  # fmt: skip
    return Progress(
        description=study.description,
        state=study.state,
        is_simulated=study.is_simulated,
        n_withdrawn=study.n_withdrawn,
        n_completed=len(completed),
        n_trials=n_trials,
        n_in_progress=n_assigned - len(completed),
        condition_summaries=[_summarize_condition(c, [r for r in completed if r.condition == c]) for c in CONDITIONS],
        state_counts=dict(Counter(summary.state for summary in summaries)),
        participants=summaries,
        comments=[
            (participant, response["comment"])
            for (participant, kind), response in responses.items()
            if kind == "comments" and response["comment"]
        ],
    )


def _summarize_condition(condition: str, rows: Sequence[Row]) -> tuple[str, int, stats.Interval | None, float | None]:
    n_correct = sum(r.choice == r.target for r in rows)
    interval = stats.wilson(n_correct, len(rows)) if rows else None
    return condition, len(rows), interval, median(r.seconds for r in rows) if rows else None


def _summarize_participant(
    app_state: AppState,
    participant: Row,
    rows: Sequence[Row],
    n_failed_checks: int,
    headphone_result: dict | None,
    now: float,
) -> ParticipantSummary:
    seconds = [r.seconds for r in rows]
    score = f"{headphone_result['n_correct']} of {len(headphone_result['picks'])}" if headphone_result else "–"
    return ParticipantSummary(
        id=participant.id,
        state=participant.state,
        n_trials=len(rows),
        accuracy=sum(r.choice == r.target for r in rows) / len(rows) if rows else None,
        median_seconds=median(seconds) if seconds else None,
        session_minutes=round((participant.last_active_at - participant.started_at) / 60),
        idle_minutes=round((now - participant.last_active_at) / 60),
        headphone_score=score,
        focus_lost=sum(r.focus_lost for r in rows),
        load_failures=sum(r.load_failures for r in rows),
        inattention_reasons=data_quality.inattention_reasons(
            app_state.config.inattention, [r.choice for r in rows], seconds, n_failed_checks
        ),
        is_slow=data_quality.is_slow(seconds, app_state.config.slow_median_seconds),
    )
