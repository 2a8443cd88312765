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

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.connection import Database, DatabaseError, explain_error, redact_password
from synesthesia.human_study.db.schema import METADATA, QUESTION, SCHEMA_VERSION, SLOT, STUDY, TRIAL
from synesthesia.human_study.design import plan
from synesthesia.human_study.design.materials import Materials, Question


@dataclass(frozen=True)
class StoredQuestion(Question):
    """A question as the database keeps it; `practice` is its condition where it is for practice, else None."""

    practice_condition: str | None
    practice_position: int | None


def compute_fingerprint(config: HumanStudyConfig, materials: Materials) -> str:
    """SHA-256 of all that the plan and its questions depend on."""
    keys = ("seed", "split", "judgements", "trials", "practice")
    told = {key: getattr(config, key) for key in keys}
    told["clips"] = materials.clips
    rows = [(q.question_id, q.options, q.target, q.label) for q in materials.questions.values()]
    told["questions"] = sorted(rows)
    told["practised"] = [(q.question_id, condition) for q, condition in materials.practice]
    return hashlib.sha256(json.dumps([SCHEMA_VERSION, told], sort_keys=True).encode()).hexdigest()


def describe_plan(config: HumanStudyConfig, materials: Materials) -> str:
    """The plan in words."""
    labels, clips = len(materials.clips), len(next(iter(materials.clips.values())))
    total = 3 * labels * clips * config.responses_per_clip
    return (
        f"{labels} labels x {clips} clips x 3 conditions x {config.responses_per_clip} = {total} trials, up to {config.trials_per_participant} a "
        f"participant, seed {config.seed}"
    )


def create_study(
    database: Database, config: HumanStudyConfig, materials: Materials, is_simulated: bool = False
) -> bool:
    """Make the tables and the plan where there are none, all or nothing; False where a study is there already."""
    try:
        with database.write() as connection:
            if not database.is_sqlite:  # two servers started at once
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(727474)")
            if inspect(connection).has_table("study") and connection.scalar(select(func.count()).select_from(STUDY)):
                return False
            METADATA.create_all(connection)
            _insert_plan(connection, config, materials, is_simulated)
    except DBAPIError as error:
        raise DatabaseError(f"{redact_password(database.url)}: {explain_error(error)}") from None
    return True


def _insert_plan(connection, config: HumanStudyConfig, materials: Materials, is_simulated: bool) -> None:
    planned = plan.make_plan(
        materials.clips,
        responses_per_clip=config.responses_per_clip,
        trials_per_participant=config.trials_per_participant,
        seed=config.seed,
    )
    practised = {q.question_id: (condition, place) for place, (q, condition) in enumerate(materials.practice)}
    questions = [*materials.questions.values(), *(question for question, _ in materials.practice)]
    rows = []
    for q in questions:
        condition, place = practised.get(q.question_id, (None, None))
        rows.append({"question_id": q.question_id, "clip_id": q.clip_id, "label": q.label, "answer": q.target,
                     "options": json.dumps(q.options), "shard": q.shard, "row": q.row, "practice": condition,
                     "practice_place": place})  # fmt: skip
    connection.execute(insert(QUESTION), rows)
    trials = [{"id": number, "seat": t.slot, "place": t.position, "condition": t.condition, "taken": False,
               "question_id": materials.questions[t.clip_id].question_id} for number, t in enumerate(planned)]  # fmt: skip
    connection.execute(insert(TRIAL), trials)
    connection.execute(insert(SLOT), [{"number": n, "taken": False} for n in sorted({t.slot for t in planned})])
    connection.execute(
        insert(STUDY).values(id=1, format=SCHEMA_VERSION, plan=compute_fingerprint(config, materials), about=describe_plan(config, materials),
                             state="open", simulated=is_simulated, withdrawn=0, made_at=int(time.time()))
    )  # fmt: skip


def load_study(database: Database, expected_fingerprint: str | None = None):
    """The study's row; raise DatabaseError where there is none, or the plan's fingerprint is not `expected`."""
    where = redact_password(database.url)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("study"):
                raise DatabaseError(f"{where} holds no study: `make study` makes one")
            row = connection.execute(select(STUDY)).one_or_none()
    except DBAPIError as error:
        raise DatabaseError(f"{where}: {explain_error(error)}") from None
    if row is None or row.format != SCHEMA_VERSION:
        raise DatabaseError(f"{where} was made by another version of this program: export with that one")
    if expected_fingerprint is not None and row.plan != expected_fingerprint:
        raise DatabaseError(
            f"{where} holds another study ({row.about}), not the one of params.yaml and out/. Its answers are safe. "
            "Set `study` back to what it was, or start the new study in a database of its own: --database "
            "sqlite:///humans/another.sqlite"
        )
    return row


def load_questions(database: Database) -> dict[str, StoredQuestion]:
    """All questions by id, those for practice among them."""
    with database.read() as connection:
        rows = connection.execute(select(QUESTION).order_by(QUESTION.c.question_id)).all()
    return {
        r.question_id: StoredQuestion(r.question_id, r.clip_id, r.label, tuple(json.loads(r.options)), r.answer, r.shard, r.row,
                             r.practice, r.practice_place)
        for r in rows
    }  # fmt: skip
