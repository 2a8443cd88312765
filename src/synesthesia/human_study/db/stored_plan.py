"""The one plan that a database is for: written once, all or nothing, and refused where it is another.

`create` writes it, `open_study` holds it against the parameters' fingerprint, `questions` reads what is asked in it.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass

from sqlalchemy import func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from synesthesia.config import Study
from synesthesia.human_study.db.connection import Database, DatabaseError, explain, shown
from synesthesia.human_study.db.schema import FORMAT, METADATA, QUESTION, SEAT, STUDY, TRIAL
from synesthesia.human_study.design import plan
from synesthesia.human_study.design.materials import Materials, Question


@dataclass(frozen=True)
class Asked(Question):
    """A question as the database keeps it; `practice` is its condition where it is for practice, else None."""

    practice: str | None
    practice_place: int | None


def fingerprint(study: Study, materials: Materials) -> str:
    """SHA-256 of all that the plan and its questions depend on."""
    keys = ("seed", "split", "judgements", "trials", "practice")
    told = {key: getattr(study, key) for key in keys}
    told["clips"] = materials.clips
    rows = [(q.question_id, q.options, q.answer, q.label) for q in materials.questions.values()]
    told["questions"] = sorted(rows)
    told["practised"] = [(q.question_id, condition) for q, condition in materials.practice]
    return hashlib.sha256(json.dumps([FORMAT, told], sort_keys=True).encode()).hexdigest()


def describe(study: Study, materials: Materials) -> str:
    """The plan in words."""
    labels, clips = len(materials.clips), len(next(iter(materials.clips.values())))
    total = 3 * labels * clips * study.judgements
    return (
        f"{labels} labels x {clips} clips x 3 conditions x {study.judgements} = {total} trials, up to {study.trials} a "
        f"participant, seed {study.seed}"
    )


def create(database: Database, study: Study, materials: Materials, simulated: bool = False) -> bool:
    """Make the tables and the plan where there are none, all or nothing; False where a study is there already."""
    try:
        with database.write() as connection:
            if not database.sqlite:  # two servers started at once
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727474)")
            if inspect(connection).has_table("study") and connection.scalar(select(func.count()).select_from(STUDY)):
                return False
            METADATA.create_all(connection)
            _fill(connection, study, materials, simulated)
    except DBAPIError as error:
        raise DatabaseError(f"{shown(database.url)}: {explain(error)}") from None
    return True


def _fill(connection, study: Study, materials: Materials, simulated: bool) -> None:
    planned = plan.make(materials.clips, judgements=study.judgements, trials=study.trials, seed=study.seed)
    practised = {q.question_id: (condition, place) for place, (q, condition) in enumerate(materials.practice)}
    questions = [*materials.questions.values(), *(question for question, _ in materials.practice)]
    rows = []
    for q in questions:
        condition, place = practised.get(q.question_id, (None, None))
        rows.append({"question_id": q.question_id, "clip_id": q.clip_id, "label": q.label, "answer": q.answer,
                     "options": json.dumps(q.options), "shard": q.shard, "row": q.row, "practice": condition,
                     "practice_place": place})  # fmt: skip
    connection.execute(insert(QUESTION), rows)
    trials = [{"id": number, "seat": t.seat, "place": t.place, "condition": t.condition, "taken": False,
               "question_id": materials.questions[t.clip].question_id} for number, t in enumerate(planned)]  # fmt: skip
    connection.execute(insert(TRIAL), trials)
    connection.execute(insert(SEAT), [{"number": n, "taken": False} for n in sorted({t.seat for t in planned})])
    connection.execute(
        insert(STUDY).values(id=1, format=FORMAT, plan=fingerprint(study, materials), about=describe(study, materials),
                             state="open", simulated=simulated, withdrawn=0, made_at=int(time.time()))
    )  # fmt: skip


def open_study(database: Database, expected: str | None = None):
    """The study's row; raise DatabaseError where there is none, or the plan's fingerprint is not `expected`."""
    where = shown(database.url)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("study"):
                raise DatabaseError(f"{where} holds no study: `make study` makes one")
            row = connection.execute(select(STUDY)).one_or_none()
    except DBAPIError as error:
        raise DatabaseError(f"{where}: {explain(error)}") from None
    if row is None or row.format != FORMAT:
        raise DatabaseError(f"{where} was made by another version of this program: export with that one")
    if expected is not None and row.plan != expected:
        raise DatabaseError(
            f"{where} holds another study ({row.about}), not the one of params.yaml and out/. Its answers are safe. "
            "Set `study` back to what it was, or start the new study in a database of its own: --database "
            "sqlite:///humans/another.sqlite"
        )
    return row


def questions(database: Database) -> dict[str, Asked]:
    """All questions by id, those for practice among them."""
    with database.read() as connection:
        rows = connection.execute(select(QUESTION).order_by(QUESTION.c.question_id)).all()
    return {
        r.question_id: Asked(r.question_id, r.clip_id, r.label, tuple(json.loads(r.options)), r.answer, r.shard, r.row,
                             r.practice, r.practice_place)
        for r in rows
    }  # fmt: skip
