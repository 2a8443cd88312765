"""Participant sessions, from joining to leaving, as database transactions.

A session is a list of steps, written when the participant joins. The current step is the first open one, whichever
browser, tab, or server asks, so closing a tab loses nothing. A session without an answer for `session_timeout_hours` is
closed, and its open trials go to participants who join when all slots are assigned.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db import completed, responses
from synesthesia.human_study.db.connection import Database
from synesthesia.human_study.db.responses import Answer, InvalidAnswerError
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.db.stored_plan import StoredQuestion
from synesthesia.human_study.design import assignment, steps

# The statements of every answer, built once: building them costs more than running them.
_PARTICIPANT_PARAM, _STEP_NUMBER_PARAM = bindparam("participant_id"), bindparam("step_number")
_STEP_MATCHES = (STEP.c.participant == _PARTICIPANT_PARAM) & (STEP.c.number == _STEP_NUMBER_PARAM)
_STEP_IS_OPEN = STEP.c.answered_at.is_(None) & STEP.c.is_released.is_(False)
_FIRST_OPEN_STEP = (
    select(func.min(STEP.c.number)).where(STEP.c.participant == _PARTICIPANT_PARAM, _STEP_IS_OPEN).scalar_subquery()
)
_SELECT_CURRENT = (
    select(PARTICIPANT.c.state.label("participant_state"), STUDY.c.state.label("study_state"), STEP)
    .select_from(
        PARTICIPANT.join(STUDY, STUDY.c.id == 1).outerjoin(
            STEP, (STEP.c.participant == PARTICIPANT.c.id) & (STEP.c.number == _FIRST_OPEN_STEP)
        )
    )
    .where(PARTICIPANT.c.id == _PARTICIPANT_PARAM)
)
_SELECT_STEP = select(STEP).where(_STEP_MATCHES)
_UPDATE_LAST_ACTIVE = (
    update(PARTICIPANT).where(PARTICIPANT.c.id == _PARTICIPANT_PARAM).values(last_active_at=bindparam("now"))
)
_CHOICE_COLUMNS = (
    "idempotency_key", "choice", "seconds", "replays", "focus_lost", "load_failures", "answered_at"
)  # fmt: skip
_UPDATE_CHOICE = (
    update(STEP)
    .where(_STEP_MATCHES, _STEP_IS_OPEN)
    .values({name: bindparam(f"new_{name}") for name in _CHOICE_COLUMNS})
)


class JoinRefused(Exception):
    """A participant cannot join; `reason` is a code that the page translates into a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SessionState:
    """State of a participant's session.

    Attributes:
        state: "none", "active", "finished", "timed_out", "screened_out", or "closed".
        step: The current row of `step` while active, else None.
    """

    state: str
    step: Row | None


class Sessions:
    """All actions of participants on one database with one set of parameters.

    Args:
        database: The study's database.
        config: Study parameters.
        questions: Questions by id.
    """

    def __init__(self, database: Database, config: HumanStudyConfig, questions: Mapping[str, StoredQuestion]) -> None:
        self.database, self.config, self.questions = database, config, questions

    def join(self, session_hash: bytes, external_id_hash: bytes | None, consent_sha256: str) -> str:
        """Add a participant, or find the one of the same browser.

        Args:
            session_hash: SHA-256 of the browser's session.
            external_id_hash: Keyed hash of an external id, if the link names one.
            consent_sha256: SHA-256 hex digest of the consent text agreed to.

        Returns:
            The participant id.

        Raises:
            JoinRefused: The study is "paused" or "closed", the external id has "already_joined" in another browser,
                the study is "full" (no free trial at present) or "complete" (every trial is answered).
        """
        self.close_timed_out()
        try:
            with self.database.write() as connection:
                existing = connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session_hash == session_hash))
                if existing:
                    return existing
                study_state = connection.scalar(select(STUDY.c.state).with_for_update())  # one join at a time
                if study_state != "open":
                    raise JoinRefused(str(study_state))
                if external_id_hash is not None and connection.scalar(
                    select(PARTICIPANT.c.id).where(PARTICIPANT.c.external_id_hash == external_id_hash)
                ):
                    raise JoinRefused("already_joined")
                trials = assignment.take_slot(connection) or assignment.take_released_trials(
                    connection, self.questions, self.config.trials_per_participant
                )
                if not trials:
                    raise JoinRefused("full" if completed.count_unanswered_trials(connection) else "complete")
                participant, now = "p" + secrets.token_hex(8), int(time.time())
                connection.execute(
                    insert(PARTICIPANT).values(id=participant, session_hash=session_hash, state="active",
                                               external_id_hash=external_id_hash, consent_sha256=consent_sha256,
                                               started_at=now, last_active_at=now)
                )  # fmt: skip
                connection.execute(insert(STEP), steps.build_steps(self.config, self.questions, participant, trials))
                return participant
        except IntegrityError:  # the same browser or external id joined at the same moment through another server
            existing = self.find_participant(session_hash)
            if existing is None:
                raise JoinRefused("already_joined") from None
            return existing

    def find_participant(self, session_hash: bytes) -> str | None:
        """Find the participant of a browser's session.

        Args:
            session_hash: SHA-256 of the browser's session.

        Returns:
            The participant id, or None if the browser has not joined.
        """
        with self.database.read() as connection:
            return connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session_hash == session_hash))

    def load_state(self, participant: str) -> SessionState:
        """Load the state of a participant's session.

        Args:
            participant: Participant id.

        Returns:
            The state, with the current step while active.
        """
        with self.database.read() as connection:
            return self._load_state(connection, participant)

    @staticmethod
    def _load_state(connection: Connection, participant: str) -> SessionState:
        row = connection.execute(_SELECT_CURRENT, {"participant_id": participant}).one_or_none()
        if row is None:
            return SessionState("none", None)
        if row.participant_state != "active":
            return SessionState(row.participant_state, None)
        if row.study_state == "closed":
            return SessionState("closed", None)
        return SessionState("active", row)

    def block_layout(self, participant: str) -> dict[int, tuple[int, int]]:
        """Load the sizes of a session's blocks, which never change.

        Args:
            participant: Participant id.

        Returns:
            By block number: the number of its trials, and the number of trials of the session before it.
        """
        with self.database.read() as connection:
            rows = connection.execute(
                select(STEP.c.block, func.count(), func.min(STEP.c.position))
                .where(STEP.c.participant == participant, STEP.c.kind == "trial")
                .group_by(STEP.c.block)
            ).all()
        return {block: (n_trials, first_position) for block, n_trials, first_position in rows}

    def submit_answer(self, participant: str, answer: Answer) -> tuple[str, Row | None, SessionState]:
        """Answer a step, in one transaction.

        Args:
            participant: Participant id.
            answer: The participant's answer.

        Returns:
            The status, the step as it was before, and the session's state afterwards. The status is "saved";
            "duplicate" (this answer is already saved: a retry); "stale" (the step has another answer, or is not the
            current one: another tab was faster); "retry" (the sound or headphone check was not passed).

        Raises:
            InvalidAnswerError: The step does not exist or does not allow the answer.
        """
        with self.database.write() as connection:
            step_key = {"participant_id": participant, "step_number": answer.number}
            step = connection.execute(_SELECT_STEP, step_key).one_or_none()
            session = self._load_state(connection, participant)
            if step is None:
                if session.state == "none":
                    return "stale", None, session
                raise InvalidAnswerError(f"there is no step {answer.number}")
            if step.idempotency_key == answer.idempotency_key:
                is_open = step.answered_at is None and not step.is_released
                return "retry" if is_open else "duplicate", step, session
            if session.step is None or session.step.number != answer.number:
                return self._resolve_race(connection, step_key, answer), step, session
            now = int(time.time())
            values: dict[str, Any] | None = responses.apply_answer(self.config, self.questions, step, answer)
            status = "retry" if values is None else "saved"
            if values is None:
                values = {"replays": (step.replays or 0) + 1}
            elif not values.get("is_released"):
                values["answered_at"] = now
            values["idempotency_key"] = answer.idempotency_key
            connection.execute(_UPDATE_LAST_ACTIVE, {"participant_id": participant, "now": now})
            if set(values) == set(_CHOICE_COLUMNS):
                result = connection.execute(_UPDATE_CHOICE, step_key | {f"new_{k}": v for k, v in values.items()})
            else:
                result = connection.execute(update(STEP).where(_STEP_MATCHES, _STEP_IS_OPEN).values(values), step_key)
            if result.rowcount != 1:
                return self._resolve_race(connection, step_key, answer), step, self._load_state(connection, participant)
            if values.get("is_released"):
                connection.execute(update(TRIAL).where(TRIAL.c.id == step.trial).values(is_assigned=False))
            elif step.kind == "headphone_check" and status == "saved" and self.config.headphone_check == "require":
                if not json.loads(values["response"])["has_passed"]:
                    self._close_sessions(connection, [participant], "screened_out")
            elif step.kind == "comments":
                connection.execute(update(PARTICIPANT).where(PARTICIPANT.c.id == participant).values(state="finished"))
            return status, step, self._load_state(connection, participant)

    @staticmethod
    def _resolve_race(connection: Connection, step_key: dict, answer: Answer) -> str:
        """Find out who answered the step: another tab, or a first sending of this answer whose reply was lost.

        Reads the step again: PostgreSQL shows each statement what was committed before it.
        """
        step = connection.execute(_SELECT_STEP, step_key).one()
        return "duplicate" if step.idempotency_key == answer.idempotency_key else "stale"

    def close_timed_out(self) -> int:
        """Close sessions without an answer for `session_timeout_hours`, and release their open trials.

        Returns:
            The number of sessions closed.
        """
        cutoff = int(time.time() - 3600 * self.config.session_timeout_hours)
        with self.database.read() as connection:
            timed_out = (PARTICIPANT.c.state == "active") & (PARTICIPANT.c.last_active_at < cutoff)
            if not connection.scalar(select(func.count()).select_from(PARTICIPANT).where(timed_out)):
                return 0
        with self.database.write() as connection:
            participants = connection.scalars(
                select(PARTICIPANT.c.id).where(timed_out).with_for_update(skip_locked=True)
            ).all()
            self._close_sessions(connection, participants, "timed_out")
            return len(participants)

    @staticmethod
    def _close_sessions(connection: Connection, participants: Sequence[str], state: str) -> None:
        if not participants:
            return
        is_open = STEP.c.participant.in_(participants) & _STEP_IS_OPEN
        trials = connection.scalars(select(STEP.c.trial).where(is_open, STEP.c.trial.is_not(None))).all()
        connection.execute(update(STEP).where(is_open).values(is_released=True))
        connection.execute(update(TRIAL).where(TRIAL.c.id.in_(trials)).values(is_assigned=False))
        connection.execute(update(PARTICIPANT).where(PARTICIPANT.c.id.in_(participants)).values(state=state))

    def withdraw(self, participant: str) -> bool:
        """Delete everything stored of a participant, and release the trials.

        Args:
            participant: Participant id.

        Returns:
            False if there is no such participant.
        """
        with self.database.write() as connection:
            trials = select(STEP.c.trial).where(STEP.c.participant == participant, STEP.c.trial.is_not(None),
                                                STEP.c.is_released.is_(False))  # fmt: skip
            connection.execute(update(TRIAL).where(TRIAL.c.id.in_(trials)).values(is_assigned=False))
            connection.execute(delete(STEP).where(STEP.c.participant == participant))
            n_deleted = connection.execute(delete(PARTICIPANT).where(PARTICIPANT.c.id == participant)).rowcount
            if n_deleted:
                connection.execute(update(STUDY).values(n_withdrawn=STUDY.c.n_withdrawn + 1))
        if n_deleted:
            self.database.truncate_wal()
        return bool(n_deleted)

    def set_state(self, state: str) -> None:
        """Set the study's state.

        Args:
            state: "open", "paused" (nobody can join; sessions in progress continue), or "closed" (no more answers).

        Raises:
            ValueError: The state is another one.
        """
        if state not in ("open", "paused", "closed"):
            raise ValueError(f"state must be open, paused, or closed, not {state!r}")
        with self.database.write() as connection:
            connection.execute(update(STUDY).values(state=state))
