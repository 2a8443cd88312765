"""A participant from joining to leaving, as transactions on the database.

A session is a list of steps, written when the participant joins. The current step is the first one not answered,
whatever browser, tab or server asks: closing the tab loses nothing. Sessions without an answer for `late_after_hours`
close, and what they left is given to whoever joins when all seats are taken.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db import completed, responses
from synesthesia.human_study.db.connection import Database
from synesthesia.human_study.db.responses import Answer, InvalidAnswerError
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.design import assignment, steps

# The statements of every answer, built once: building them costs more than running them.
_PARTICIPANT_PARAM, _STEP_NUMBER_PARAM = bindparam("me"), bindparam("at")
_STEP_MATCHES = (STEP.c.participant == _PARTICIPANT_PARAM) & (STEP.c.number == _STEP_NUMBER_PARAM)
_STEP_IS_OPEN = STEP.c.answered_at.is_(None) & STEP.c.released.is_(False)
_FIRST_OPEN_STEP = (
    select(func.min(STEP.c.number)).where(STEP.c.participant == _PARTICIPANT_PARAM, _STEP_IS_OPEN).scalar_subquery()
)
_SELECT_CURRENT = (
    select(PARTICIPANT.c.state.label("own_state"), STUDY.c.state.label("study_state"), STEP)
    .select_from(
        PARTICIPANT.join(STUDY, STUDY.c.id == 1).outerjoin(
            STEP, (STEP.c.participant == PARTICIPANT.c.id) & (STEP.c.number == _FIRST_OPEN_STEP)
        )
    )
    .where(PARTICIPANT.c.id == _PARTICIPANT_PARAM)
)
_SELECT_STEP = select(STEP).where(_STEP_MATCHES)
_UPDATE_LAST_ACTIVE = update(PARTICIPANT).where(PARTICIPANT.c.id == _PARTICIPANT_PARAM).values(seen_at=bindparam("now"))
_CHOICE_COLUMNS = ("key", "choice", "seconds", "replays", "focus_lost", "load_failures", "answered_at")
_UPDATE_CHOICE = (
    update(STEP)
    .where(_STEP_MATCHES, _STEP_IS_OPEN)
    .values({name: bindparam(f"new_{name}") for name in _CHOICE_COLUMNS})
)


class JoinRefused(Exception):
    """A participant cannot join or answer; `reason` is a word for the page, which has the sentence."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SessionState:
    """Where a participant is: none, active, finished, late, screened or closed; the current step while active."""

    state: str
    step: object | None


class Sessions:
    """Everything participants do, against one database and one set of parameters."""

    def __init__(self, database: Database, config: HumanStudyConfig, questions: Mapping[str, StoredQuestion]):
        self.database, self.config, self.questions = database, config, questions

    def join(self, session_hash: bytes, external_id_hash: bytes | None, consent_sha256: str) -> str:
        """The participant's id; the same one when the same browser joins again. Raises Refused.

        `session` and `external` are hashes. Reasons: paused, closed, elsewhere (the external id has joined with
        another browser), full (nothing free now), complete (every trial is answered).
        """
        self.close_timed_out()
        try:
            with self.database.write() as connection:
                mine = connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session == session_hash))
                if mine:
                    return mine
                state = connection.scalar(select(STUDY.c.state).with_for_update())  # one joins at a time
                if state != "open":
                    raise JoinRefused(state)
                if external_id_hash is not None and connection.scalar(
                    select(PARTICIPANT.c.id).where(PARTICIPANT.c.external == external_id_hash)
                ):
                    raise JoinRefused("elsewhere")
                trials = assignment.take_slot(connection) or assignment.take_released_trials(
                    connection, self.questions, self.config.trials_per_participant
                )
                if not trials:
                    raise JoinRefused("full" if completed.count_unanswered_trials(connection) else "complete")
                participant, now = "p" + secrets.token_hex(8), int(time.time())
                connection.execute(
                    insert(PARTICIPANT).values(id=participant, session=session_hash, external=external_id_hash, state="active",
                                               consent=consent_sha256, began_at=now, seen_at=now)
                )  # fmt: skip
                drawn = steps.build_steps(self.config, self.questions, participant, trials)
                connection.execute(insert(STEP), drawn)
                return participant
        except IntegrityError:  # the same browser or external id came in at the same moment through another server
            mine = self.find_participant(session_hash)
            if mine is None:
                raise JoinRefused("elsewhere") from None
            return mine

    def find_participant(self, session_hash: bytes) -> str | None:
        """The participant of a browser's session, if it has joined."""
        with self.database.read() as connection:
            return connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session == session_hash))

    def load_state(self, participant: str) -> SessionState:
        """Where a participant is."""
        with self.database.read() as connection:
            return self._load_state(connection, participant)

    @staticmethod
    def _load_state(connection, participant: str) -> SessionState:
        found = connection.execute(_SELECT_CURRENT, {"me": participant}).one_or_none()
        if found is None:
            return SessionState("none", None)
        if found.own_state != "active":
            return SessionState(found.own_state, None)
        if found.study_state == "closed":
            return SessionState("closed", None)
        return SessionState("active", found)

    def block_layout(self, participant: str) -> dict[int, tuple[int, int]]:
        """Of each block: how many trials it has, and how many of the session come before it. Never changes."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(STEP.c.block, func.count(), func.min(STEP.c.place))
                .where(STEP.c.participant == participant, STEP.c.kind == "trial")
                .group_by(STEP.c.block)
            ).all()
        return {block: (number, first) for block, number, first in rows}

    def submit_answer(self, participant: str, answer: Answer) -> tuple[str, object, SessionState]:
        """Fill a step. Returns (what became of it, the step as it was, `current` afterwards) from one transaction.

        "saved"; "repeated" (this very answer was saved before: a retry); "stale" (the step was answered otherwise, or
        is not the current one: another tab was quicker); "again" (the sound check or headphone test was not passed).
        Raises BadAnswer where the step does not allow the answer.
        """
        with self.database.write() as connection:
            mine = {"me": participant, "at": answer.number}
            step = connection.execute(_SELECT_STEP, mine).one_or_none()
            now = self._load_state(connection, participant)
            if step is None:
                if now.state == "none":
                    return "stale", None, now
                raise InvalidAnswerError(f"there is no step {answer.number}")
            if step.key == answer.idempotency_key:
                return "again" if step.answered_at is None and not step.released else "repeated", step, now
            if now.step is None or now.step.number != answer.number:
                return self._resolve_race(connection, mine, answer), step, now
            seconds = int(time.time())
            values = responses.apply_answer(self.config, self.questions, step, answer)
            status = "again" if values is None else "saved"
            if values is None:
                values = {"replays": (step.replays or 0) + 1}
            elif not values.get("released"):
                values["answered_at"] = seconds
            values["key"] = answer.idempotency_key
            connection.execute(_UPDATE_LAST_ACTIVE, {"me": participant, "now": seconds})
            if set(values) == set(_CHOICE_COLUMNS):
                done = connection.execute(
                    _UPDATE_CHOICE, mine | {f"new_{name}": value for name, value in values.items()}
                )
            else:
                done = connection.execute(update(STEP).where(_STEP_MATCHES, _STEP_IS_OPEN).values(values), mine)
            if done.rowcount != 1:
                return self._resolve_race(connection, mine, answer), step, self._load_state(connection, participant)
            if values.get("released"):
                connection.execute(update(TRIAL).where(TRIAL.c.id == step.trial).values(taken=False))
            elif step.kind == "headphones" and status == "saved" and self.config.headphone_check == "require":
                if not json.loads(values["said"])["passed"]:
                    self._close_sessions(connection, [participant], "screened")
            elif step.kind == "comments":
                connection.execute(update(PARTICIPANT).where(PARTICIPANT.c.id == participant).values(state="finished"))
            return status, step, self._load_state(connection, participant)

    @staticmethod
    def _resolve_race(connection, step_key: dict, answer: Answer) -> str:
        """What became of a step that somebody filled a moment ago: another tab, or this very answer, sent over a
        connection that was lost. Read once more: PostgreSQL shows each statement what was committed before it.
        """
        return "repeated" if connection.execute(_SELECT_STEP, step_key).one().key == answer.idempotency_key else "stale"

    def close_timed_out(self) -> int:
        """Close sessions without an answer for `late_after_hours`; their empty trials become free. How many."""
        before = int(time.time() - 3600 * self.config.session_timeout_hours)
        with self.database.read() as connection:
            overdue = (PARTICIPANT.c.state == "active") & (PARTICIPANT.c.seen_at < before)
            if not connection.scalar(select(func.count()).select_from(PARTICIPANT).where(overdue)):
                return 0
        with self.database.write() as connection:
            late = connection.scalars(select(PARTICIPANT.c.id).where(overdue).with_for_update(skip_locked=True)).all()
            self._close_sessions(connection, late, "late")
            return len(late)

    @staticmethod
    def _close_sessions(connection, participants: list[str], state: str) -> None:
        if not participants:
            return
        empty = STEP.c.participant.in_(participants) & STEP.c.answered_at.is_(None) & STEP.c.released.is_(False)
        free = connection.scalars(select(STEP.c.trial).where(empty, STEP.c.trial.is_not(None))).all()
        connection.execute(update(STEP).where(empty).values(released=True))
        connection.execute(update(TRIAL).where(TRIAL.c.id.in_(free)).values(taken=False))
        connection.execute(update(PARTICIPANT).where(PARTICIPANT.c.id.in_(participants)).values(state=state))

    def withdraw(self, participant: str) -> bool:
        """Delete all that is kept of a participant; the trials become free. False where there is no such one."""
        with self.database.write() as connection:
            held = select(STEP.c.trial).where(STEP.c.participant == participant, STEP.c.trial.is_not(None),
                                              STEP.c.released.is_(False))  # fmt: skip
            connection.execute(update(TRIAL).where(TRIAL.c.id.in_(held)).values(taken=False))
            connection.execute(delete(STEP).where(STEP.c.participant == participant))
            gone = connection.execute(delete(PARTICIPANT).where(PARTICIPANT.c.id == participant)).rowcount
            if gone:
                connection.execute(update(STUDY).values(withdrawn=STUDY.c.withdrawn + 1))
        if gone:
            self.database.truncate_wal()
        return bool(gone)

    def set_state(self, state: str) -> None:
        """Open, pause (nobody new; those under way go on) or close (nobody answers any more)."""
        if state not in ("open", "paused", "closed"):
            raise ValueError(f"a study is open, paused or closed, not {state!r}")
        with self.database.write() as connection:
            connection.execute(update(STUDY).values(state=state))
