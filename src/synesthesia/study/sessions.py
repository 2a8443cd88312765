"""A participant from joining to leaving, as transactions on the database.

A session is a list of steps, written when the participant joins: what to expect, sound check, headphone test where it
is asked for, practice, and three blocks of trials with attention checks in between, then comments. The current step is
the first one not answered, whatever browser, tab or server asks: closing the tab loses nothing. Sessions without an
answer for `late_after_hours` close, and what they left is given to whoever joins when all seats are taken.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from synesthesia.params import Study
from synesthesia.study import tones
from synesthesia.study.database import PARTICIPANT, QUESTION, SEAT, STEP, STUDY, TRIAL, Asked, Database
from synesthesia.tables import CONDITIONS

HEADPHONE_TRIES = 2

# The statements of every answer, built once: building them costs more than running them.
_ME, _NUMBER = bindparam("me"), bindparam("at")
_MINE = (STEP.c.participant == _ME) & (STEP.c.number == _NUMBER)
_OPEN = STEP.c.answered_at.is_(None) & STEP.c.released.is_(False)
_FIRST_OPEN = select(func.min(STEP.c.number)).where(STEP.c.participant == _ME, _OPEN).scalar_subquery()
_CURRENT = (
    select(PARTICIPANT.c.state.label("own_state"), STUDY.c.state.label("study_state"), STEP)
    .select_from(
        PARTICIPANT.join(STUDY, STUDY.c.id == 1).outerjoin(
            STEP, (STEP.c.participant == PARTICIPANT.c.id) & (STEP.c.number == _FIRST_OPEN)
        )
    )
    .where(PARTICIPANT.c.id == _ME)
)
_STEP = select(STEP).where(_MINE)
_SEEN = update(PARTICIPANT).where(PARTICIPANT.c.id == _ME).values(seen_at=bindparam("now"))
_CHOICE = ("key", "choice", "seconds", "replays", "focus_lost", "load_failures", "answered_at")
_FILL_CHOICE = update(STEP).where(_MINE, _OPEN).values({name: bindparam(f"new_{name}") for name in _CHOICE})
COMMENT_LENGTH = 2000


class Refused(Exception):
    """A participant cannot join or answer; `reason` is a word for the page, which has the sentence."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class BadAnswer(ValueError):
    """An answer that the step does not allow."""


@dataclass(frozen=True)
class Answer:
    """What a participant sent for a step; which fields count depends on the step's kind."""

    number: int
    key: str
    choice: int | None = None
    seconds: float = 0.0
    replays: int = 0
    focus_lost: int = 0
    load_failures: int = 0
    unplayable: bool = False
    picks: tuple[int, ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class Now:
    """Where a participant is: none, active, finished, late, screened or closed; the current step while active."""

    state: str
    step: object | None


class Sessions:
    """Everything participants do, against one database and one set of parameters."""

    def __init__(self, database: Database, study: Study, questions: Mapping[str, Asked]):
        self.database, self.study, self.questions = database, study, questions
        self.labels = sorted({q.label for q in questions.values() if q.practice is None})
        practised = [q for q in questions.values() if q.practice is not None]
        self.practised = sorted(practised, key=lambda q: q.practice_place)

    def join(self, session: bytes, external: bytes | None, consent: str) -> str:
        """The participant's id; the same one when the same browser joins again. Raises Refused.

        `session` and `external` are hashes. Reasons: paused, closed, elsewhere (the external id has joined with
        another browser), full (nothing free now), complete (every trial is answered).
        """
        self.close_late()
        try:
            with self.database.write() as connection:
                mine = connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session == session))
                if mine:
                    return mine
                state = connection.scalar(select(STUDY.c.state).with_for_update())  # one joins at a time
                if state != "open":
                    raise Refused(state)
                if external is not None and connection.scalar(
                    select(PARTICIPANT.c.id).where(PARTICIPANT.c.external == external)
                ):
                    raise Refused("elsewhere")
                trials = self._take_seat(connection) or self._take_left_over(connection)
                if not trials:
                    left = connection.scalar(select(func.count()).select_from(TRIAL).where(~_judged()))
                    raise Refused("full" if left else "complete")
                participant, now = "p" + secrets.token_hex(8), int(time.time())
                connection.execute(
                    insert(PARTICIPANT).values(id=participant, session=session, external=external, state="active",
                                               consent=consent, began_at=now, seen_at=now)
                )  # fmt: skip
                connection.execute(insert(STEP), self._steps(participant, trials))
                return participant
        except IntegrityError:  # the same browser or external id came in at the same moment through another server
            mine = self.of(session)
            if mine is None:
                raise Refused("elsewhere") from None
            return mine

    def _take_seat(self, connection) -> list:
        free = select(SEAT.c.number).where(~SEAT.c.taken).order_by(SEAT.c.number).limit(1)
        number = connection.scalar(free)
        if number is None:
            return []
        connection.execute(update(SEAT).where(SEAT.c.number == number).values(taken=True))
        of_seat = (TRIAL.c.seat == number) & ~TRIAL.c.taken
        trials = connection.execute(select(TRIAL).where(of_seat).order_by(TRIAL.c.place)).all()
        connection.execute(update(TRIAL).where(of_seat).values(taken=True))
        return trials

    def _take_left_over(self, connection) -> list:
        """Free trials that others left, up to a session's length: no clip twice, labels as even as they allow."""
        free = connection.execute(select(TRIAL).where(~TRIAL.c.taken).order_by(TRIAL.c.id)).all()
        block = self.study.trials // 3
        random = np.random.default_rng(secrets.randbits(64))
        chosen, clips, labels, conditions = [], set(), Counter(), Counter()
        left = [free[i] for i in random.permutation(len(free))]
        while left and len(chosen) < self.study.trials:
            left = [t for t in left if self.questions[t.question_id].clip_id not in clips]
            left = [t for t in left if conditions[t.condition] < block]
            if not left:
                break
            best = min(left, key=lambda t: (labels[self.questions[t.question_id].label], conditions[t.condition]))
            question = self.questions[best.question_id]
            chosen.append(best)
            clips.add(question.clip_id)
            labels[question.label] += 1
            conditions[best.condition] += 1
        if chosen:
            connection.execute(update(TRIAL).where(TRIAL.c.id.in_([t.id for t in chosen])).values(taken=True))
        order = {CONDITIONS[c]: n for n, c in enumerate(random.permutation(3))}
        return sorted(chosen, key=lambda t: order[t.condition])

    def _steps(self, participant: str, trials: list) -> list[dict]:
        """Rows of `step`; `trials` are grouped by condition, in the blocks' order."""
        random = np.random.default_rng(secrets.randbits(64))
        steps: list[dict] = [{"kind": "expect"}, {"kind": "sound", "detail": {"tones": int(random.integers(3, 6))}}]
        if self.study.headphones != "off":
            steps.append({"kind": "headphones"})
        for question in self.practised:
            steps.append({"kind": "practice", "question_id": question.question_id, "condition": question.practice})
        blocks = list(dict.fromkeys(t.condition for t in trials))
        checked = random.permutation(np.resize(random.permutation(len(blocks)), self.study.attention_checks))
        place = 0
        for block, condition in enumerate(blocks):
            steps.append({"kind": "block", "block": block, "condition": condition})
            mine = [t for t in trials if t.condition == condition]
            checks = Counter(int(random.integers(1, max(2, len(mine)))) for b in checked if b == block)
            for index, trial in enumerate(mine):
                for _ in range(checks[index]):
                    steps.append({"kind": "check", "block": block, "condition": condition, "place": place,
                                  "detail": self._check(random)})  # fmt: skip
                steps.append({"kind": "trial", "block": block, "condition": condition, "place": place,
                              "trial": trial.id, "question_id": trial.question_id})  # fmt: skip
                place += 1
        steps.append({"kind": "comments"})
        empty = dict.fromkeys(("block", "place", "trial", "question_id", "condition"))
        return [
            empty | step | {"participant": participant, "number": number, "released": False,
                            "detail": json.dumps(step.get("detail"))}
            for number, step in enumerate(steps)
        ]  # fmt: skip

    def _check(self, random) -> dict:
        """Ten labels and the letter to press."""
        some = random.permutation(self.labels)[:10]
        return {"options": [str(label) for label in some], "answer": int(random.integers(len(some)))}

    def of(self, session: bytes) -> str | None:
        """The participant of a browser's session, if it has joined."""
        with self.database.read() as connection:
            return connection.scalar(select(PARTICIPANT.c.id).where(PARTICIPANT.c.session == session))

    def current(self, participant: str) -> Now:
        """Where a participant is."""
        with self.database.read() as connection:
            return self._current(connection, participant)

    @staticmethod
    def _current(connection, participant: str) -> Now:
        found = connection.execute(_CURRENT, {"me": participant}).one_or_none()
        if found is None:
            return Now("none", None)
        if found.own_state != "active":
            return Now(found.own_state, None)
        if found.study_state == "closed":
            return Now("closed", None)
        return Now("active", found)

    def layout(self, participant: str) -> dict[int, tuple[int, int]]:
        """Of each block: how many trials it has, and how many of the session come before it. Never changes."""
        with self.database.read() as connection:
            rows = connection.execute(
                select(STEP.c.block, func.count(), func.min(STEP.c.place))
                .where(STEP.c.participant == participant, STEP.c.kind == "trial")
                .group_by(STEP.c.block)
            ).all()
        return {block: (number, first) for block, number, first in rows}

    def answer(self, participant: str, answer: Answer) -> tuple[str, object, Now]:
        """Fill a step. Returns (what became of it, the step as it was, `current` afterwards) from one transaction.

        "saved"; "repeated" (this very answer was saved before: a retry); "stale" (the step was answered otherwise, or
        is not the current one: another tab was quicker); "again" (the sound check or headphone test was not passed).
        Raises BadAnswer where the step does not allow the answer.
        """
        with self.database.write() as connection:
            mine = {"me": participant, "at": answer.number}
            step = connection.execute(_STEP, mine).one_or_none()
            now = self._current(connection, participant)
            if step is None:
                if now.state == "none":
                    return "stale", None, now
                raise BadAnswer(f"there is no step {answer.number}")
            if step.key == answer.key:
                return "again" if step.answered_at is None and not step.released else "repeated", step, now
            if now.step is None or now.step.number != answer.number:
                return "stale", step, now
            seconds = int(time.time())
            values = self._filled(step, answer)
            status = "again" if values is None else "saved"
            if values is None:
                values = {"replays": (step.replays or 0) + 1}
            elif not values.get("released"):
                values["answered_at"] = seconds
            values["key"] = answer.key
            connection.execute(_SEEN, {"me": participant, "now": seconds})
            if set(values) == set(_CHOICE):
                done = connection.execute(_FILL_CHOICE, mine | {f"new_{name}": value for name, value in values.items()})
            else:
                done = connection.execute(update(STEP).where(_MINE, _OPEN).values(values), mine)
            if done.rowcount != 1:  # somebody was quicker: another tab, or this very answer over a lost connection
                key = connection.execute(_STEP, mine).one().key
                return "repeated" if key == answer.key else "stale", step, self._current(connection, participant)
            if values.get("released"):
                connection.execute(update(TRIAL).where(TRIAL.c.id == step.trial).values(taken=False))
            elif step.kind == "headphones" and status == "saved" and self.study.headphones == "require":
                if not json.loads(values["said"])["passed"]:
                    self._close(connection, [participant], "screened")
            elif step.kind == "comments":
                connection.execute(update(PARTICIPANT).where(PARTICIPANT.c.id == participant).values(state="finished"))
            return status, step, self._current(connection, participant)

    def _filled(self, step, answer: Answer) -> dict | None:
        """The step's new values; None where it has to be done again."""
        if step.kind in ("expect", "block"):
            return {}
        if step.kind == "comments":
            return {"said": json.dumps({"comment": answer.comment.strip()[:COMMENT_LENGTH]})}
        if step.kind == "sound":
            return {"choice": answer.choice} if answer.choice == json.loads(step.detail)["tones"] else None
        if step.kind == "headphones":
            if len(answer.picks) != len(tones.TARGETS) or not all(0 <= p < 3 for p in answer.picks):
                raise BadAnswer(f"picks must be {len(tones.TARGETS)} numbers from 0 to 2")
            right = sum(p == t for p, t in zip(answer.picks, tones.TARGETS, strict=True))
            said = {"picks": list(answer.picks), "right": right, "passed": right >= tones.PASS}
            if not said["passed"] and (step.replays or 0) + 1 < HEADPHONE_TRIES:
                return None
            return {"said": json.dumps(said)}
        if answer.unplayable:
            return {"released": True, "load_failures": answer.load_failures} if step.kind == "trial" else {}
        options = (
            json.loads(step.detail)["options"] if step.kind == "check" else self.questions[step.question_id].options
        )
        if answer.choice is None or not 0 <= answer.choice < len(options):
            raise BadAnswer(f"choice must be one of 0 to {len(options) - 1}")
        if answer.replays > self.study.replays:
            raise BadAnswer(f"replays must be at most {self.study.replays}")
        return {
            "choice": answer.choice,
            "seconds": answer.seconds,
            "replays": answer.replays,
            "focus_lost": answer.focus_lost,
            "load_failures": answer.load_failures,
        }

    def close_late(self) -> int:
        """Close sessions without an answer for `late_after_hours`; their empty trials become free. How many."""
        before = int(time.time() - 3600 * self.study.late_after_hours)
        with self.database.read() as connection:
            overdue = (PARTICIPANT.c.state == "active") & (PARTICIPANT.c.seen_at < before)
            if not connection.scalar(select(func.count()).select_from(PARTICIPANT).where(overdue)):
                return 0
        with self.database.write() as connection:
            late = connection.scalars(select(PARTICIPANT.c.id).where(overdue).with_for_update(skip_locked=True)).all()
            self._close(connection, late, "late")
            return len(late)

    @staticmethod
    def _close(connection, participants: list[str], state: str) -> None:
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
            self.database.forget()
        return bool(gone)

    def set_state(self, state: str) -> None:
        """Open, pause (nobody new; those under way go on) or close (nobody answers any more)."""
        if state not in ("open", "paused", "closed"):
            raise ValueError(f"a study is open, paused or closed, not {state!r}")
        with self.database.write() as connection:
            connection.execute(update(STUDY).values(state=state))


def _judged():
    """Whether a trial has its answer."""
    return (
        select(STEP.c.trial)
        .where(STEP.c.trial == TRIAL.c.id, STEP.c.released.is_(False), STEP.c.answered_at.is_not(None))
        .exists()
    )


def finished_trials(connection) -> list:
    """Rows of every finished trial: step's columns with the question's label, answer, and the participant's state."""
    return connection.execute(
        select(STEP, QUESTION.c.label, QUESTION.c.answer.label("truth"))
        .join(QUESTION, QUESTION.c.question_id == STEP.c.question_id)
        .where(STEP.c.kind == "trial", STEP.c.answered_at.is_not(None), STEP.c.released.is_(False))
        .order_by(STEP.c.participant, STEP.c.number)
    ).all()


def failed_checks(connection) -> Counter:
    """How many attention checks each participant failed."""
    rows = connection.execute(
        select(STEP.c.participant, STEP.c.choice, STEP.c.detail).where(
            STEP.c.kind == "check", STEP.c.answered_at.is_not(None)
        )
    ).all()
    return Counter(r.participant for r in rows if r.choice != json.loads(r.detail)["answer"])
