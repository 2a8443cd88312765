"""The plan of a database: written once, in one transaction, and refused if it differs from the parameters."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from synesthesia.config import HumanStudyConfig
from synesthesia.human_study.db.connection import Database, DatabaseError, explain_error, redact_password
from synesthesia.human_study.db.schema import METADATA, QUESTION, SCHEMA_VERSION, SLOT, STUDY, TRIAL
from synesthesia.human_study.design import plan
from synesthesia.human_study.design.materials import Materials, Question
from synesthesia.utils.hashing import hash_json

CREATE_LOCK_ID = 727474  # any number; PostgreSQL's advisory lock of create_study


@dataclass(frozen=True)
class StoredQuestion(Question):
    """A question as stored in the database.

    Attributes:
        practice_condition: Condition of a practice question; None for a question of the plan.
        practice_position: Position among the practice questions, from 0; None for a question of the plan.
    """

    practice_condition: str | None
    practice_position: int | None


def compute_fingerprint(config: HumanStudyConfig, materials: Materials) -> str:
    """Hash everything that the plan and its questions depend on.

    Args:
        config: Study parameters.
        materials: Clips, questions, and practice questions.

    Returns:
        SHA-256 hex digest.
    """
    keys = ("seed", "split", "responses_per_clip", "trials_per_participant", "practice_trials")
    content = {key: getattr(config, key) for key in keys}
    content["clips"] = materials.clips
    rows = [(q.question_id, q.options, q.target, q.label) for q in materials.questions.values()]
    content["questions"] = sorted(rows)
    content["practice"] = [(q.question_id, condition) for q, condition in materials.practice]
    return hash_json([SCHEMA_VERSION, content])


def describe_plan(config: HumanStudyConfig, materials: Materials) -> str:
    """Describe the plan in words.

    Args:
        config: Study parameters.
        materials: Clips, questions, and practice questions.

    Returns:
        One line.
    """
    n_labels, n_clips = len(materials.clips), len(next(iter(materials.clips.values())))
    n_trials = 3 * n_labels * n_clips * config.responses_per_clip
    return (
        f"{n_labels} labels x {n_clips} clips x 3 conditions x {config.responses_per_clip} = {n_trials} trials, "
        f"up to {config.trials_per_participant} per participant, seed {config.seed}"
    )


def create_study(
    database: Database, config: HumanStudyConfig, materials: Materials, is_simulated: bool = False
) -> bool:
    """Create tables and plan in an empty database, in one transaction.

    Args:
        database: The database.
        config: Study parameters.
        materials: Clips, questions, and practice questions.
        is_simulated: Whether the database is for simulated participants.

    Returns:
        False if the database already holds a study.

    Raises:
        DatabaseError: The database cannot be written.
        PlanError: No balanced plan exists for the parameters.
    """
    try:
        with database.write() as connection:
            if not database.is_sqlite:  # two servers may start at the same moment
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CREATE_LOCK_ID})")
            if inspect(connection).has_table("study") and connection.scalar(select(func.count()).select_from(STUDY)):
                return False
            METADATA.create_all(connection)
            _insert_plan(connection, config, materials, is_simulated)
    except DBAPIError as error:
        raise DatabaseError(f"{redact_password(database.url)}: {explain_error(error)}") from None
    return True


def _insert_plan(connection: Connection, config: HumanStudyConfig, materials: Materials, is_simulated: bool) -> None:
    planned = plan.make_plan(
        materials.clips,
        responses_per_clip=config.responses_per_clip,
        trials_per_participant=config.trials_per_participant,
        seed=config.seed,
    )
    practice = {q.question_id: (condition, position) for position, (q, condition) in enumerate(materials.practice)}
    questions = [*materials.questions.values(), *(question for question, _ in materials.practice)]
    rows = []
    for q in questions:
        condition, position = practice.get(q.question_id, (None, None))
        rows.append({"question_id": q.question_id, "clip_id": q.clip_id, "label": q.label, "target": q.target,
                     "options": json.dumps(q.options), "shard": q.shard, "row": q.row,
                     "practice_condition": condition, "practice_position": position})  # fmt: skip
    connection.execute(insert(QUESTION), rows)
    trials = [{"id": number, "slot": t.slot, "position": t.position, "condition": t.condition, "is_assigned": False,
               "question_id": materials.questions[t.clip_id].question_id}
              for number, t in enumerate(planned)]  # fmt: skip
    connection.execute(insert(TRIAL), trials)
    slots = [{"number": number, "is_assigned": False} for number in sorted({t.slot for t in planned})]
    connection.execute(insert(SLOT), slots)
    connection.execute(
        insert(STUDY).values(id=1, schema_version=SCHEMA_VERSION,
                             plan_fingerprint=compute_fingerprint(config, materials),
                             description=describe_plan(config, materials), state="open", is_simulated=is_simulated,
                             n_withdrawn=0, created_at=int(time.time()))
    )  # fmt: skip


def load_study(database: Database, expected_fingerprint: str | None = None) -> Row:
    """Load the row of `study`.

    Args:
        database: The database.
        expected_fingerprint: Fingerprint that the plan must have, if any.

    Returns:
        The row.

    Raises:
        DatabaseError: The database is unreadable, holds no study, or one with another schema or plan.
    """
    url = redact_password(database.url)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("study"):
                raise DatabaseError(f"{url} holds no study: `make human-study` creates one")
            columns = {column["name"] for column in inspect(connection).get_columns("study")}
            if "schema_version" not in columns:
                raise DatabaseError(_describe_version_mismatch(url))
            row = connection.execute(select(STUDY)).one_or_none()
    except DBAPIError as error:
        raise DatabaseError(f"{url}: {explain_error(error)}") from None
    if row is None or row.schema_version != SCHEMA_VERSION:
        raise DatabaseError(_describe_version_mismatch(url))
    if expected_fingerprint is not None and row.plan_fingerprint != expected_fingerprint:
        raise DatabaseError(
            f"{url} holds another study ({row.description}), not the one of params.yaml and out/. Its answers are "
            "safe. Restore `human_study` in params.yaml, or start the new study in its own database: --database "
            "sqlite:///humans/another.sqlite"
        )
    return row


def _describe_version_mismatch(url: str) -> str:
    return f"{url} was created by another version of this program: export with that version"


def load_questions(database: Database) -> dict[str, StoredQuestion]:
    """Load all questions, practice questions included.

    Args:
        database: The study's database.

    Returns:
        Questions by id, sorted by id.
    """
    with database.read() as connection:
        rows = connection.execute(select(QUESTION).order_by(QUESTION.c.question_id)).all()
    return {
        r.question_id: StoredQuestion(r.question_id, r.clip_id, r.label, tuple(json.loads(r.options)), r.target,
                                      r.shard, r.row, r.practice_condition, r.practice_position)
        for r in rows
    }  # fmt: skip
