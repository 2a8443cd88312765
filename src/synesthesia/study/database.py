"""The study's database: SQLite in WAL mode, or any other that SQLAlchemy speaks; tried with PostgreSQL.

A database is for one plan. `create` writes the plan once; `open_study` refuses a database of another one. What a
participant does is a row of `step` that is filled once: an answer is one UPDATE of a row that is still empty, so two
tabs, double clicks and repeated requests cannot count twice, and of two servers only one succeeds.

No table holds a name, a network address or an external id: only a keyed hash of the latter, where there is one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from synesthesia.params import Study
from synesthesia.study import plan
from synesthesia.study.materials import Materials

FORMAT = 1
BUSY_SECONDS = 15

METADATA = MetaData()
STUDY = Table(
    "study",
    METADATA,
    Column("id", Integer, primary_key=True),  # one row
    Column("format", Integer, nullable=False),
    Column("plan", String(64), nullable=False),  # fingerprint of parameters, questions and clips
    Column("about", Text, nullable=False),  # the same in words, for people
    Column("state", String(8), nullable=False),  # open, paused, closed
    Column("simulated", Boolean, nullable=False),
    Column("withdrawn", Integer, nullable=False),
    Column("made_at", Integer, nullable=False),
)
QUESTION = Table(
    "question",
    METADATA,
    Column("question_id", String(200), primary_key=True),
    Column("clip_id", String(200), nullable=False),
    Column("label", String(200), nullable=False),
    Column("options", Text, nullable=False),  # JSON, in the order of the letters
    Column("answer", Integer, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("row", Integer, nullable=False),
    Column("practice", String(16)),  # the condition in which it is practised; null: part of the plan
    Column("practice_place", Integer),
)
PARTICIPANT = Table(
    "participant",
    METADATA,
    Column("id", String(20), primary_key=True),  # random
    Column("session", LargeBinary(32), nullable=False, unique=True),  # SHA-256 of the cookie's random number
    Column("external", LargeBinary(32), unique=True),  # keyed hash of an external id, null without
    Column("state", String(8), nullable=False),  # active, finished, late
    Column("consent", String(64), nullable=False),  # SHA-256 of the consent text agreed to
    Column("began_at", Integer, nullable=False),
    Column("seen_at", Integer, nullable=False, index=True),
)
TRIAL = Table(
    "trial",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("seat", Integer, nullable=False, index=True),
    Column("place", Integer, nullable=False),
    Column("condition", String(16), nullable=False),
    Column("question_id", ForeignKey("question.question_id"), nullable=False),
    Column("taken", Boolean, nullable=False, index=True),  # given to somebody who may still answer, or has
)
SEAT = Table(
    "seat",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("taken", Boolean, nullable=False, index=True),
)
STEP = Table(
    "step",
    METADATA,
    Column("participant", ForeignKey("participant.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(12), nullable=False),  # expect, sound, headphones, practice, block, trial, check, comments
    Column("block", Integer),
    Column("place", Integer),  # of a trial: how many trials of the session come before it
    Column("trial", ForeignKey("trial.id")),
    Column("question_id", ForeignKey("question.question_id")),
    Column("condition", String(16)),
    Column("detail", Text),  # JSON: a check's options and letter
    Column("released", Boolean, nullable=False),  # given back unanswered
    Column("key", String(36)),  # the answer's idempotency key
    Column("choice", Integer),
    Column("seconds", Float),
    Column("replays", Integer),
    Column("focus_lost", Integer),
    Column("load_failures", Integer),
    Column("said", Text),  # JSON: comments, tones counted, headphone picks
    Column("answered_at", Integer),
)
# The last line of defence: no trial has two answers, whatever the code above it does.
Index(
    "one_holder_a_trial",
    STEP.c.trial,
    unique=True,
    sqlite_where=(STEP.c.released.is_(False)) & (STEP.c.trial.is_not(None)),
    postgresql_where=(STEP.c.released.is_(False)) & (STEP.c.trial.is_not(None)),
)


class DatabaseError(ValueError):
    """A database that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Asked:
    """A question as the database keeps it; `practice` is its condition where it is for practice, else None."""

    question_id: str
    clip_id: str
    label: str
    options: tuple[str, ...]
    answer: int
    shard: int
    row: int
    practice: str | None
    practice_place: int | None


class Database:
    """Connections to a study's database. Reads see a snapshot; writes are short and come one after another."""

    def __init__(self, url: str):
        self.url = url
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._turn = threading.Lock()  # threads of this process wait here rather than in SQLite's sleeping retries

    @contextmanager
    def write(self) -> Iterator:
        """A transaction that is committed, or undone when the block raises."""
        if not self.sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._turn, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def forget(self) -> None:
        """Take what was deleted out of SQLite's write-ahead log as well, unless somebody reads just now."""
        if self.sqlite:
            with self._turn, self.engine.connect() as connection:
                connection.connection.dbapi_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(f"{url!r} is no database URL; examples: sqlite:///humans/study.sqlite, "
                            "postgresql+psycopg://user@host/study") from None  # fmt: skip
    try:
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise DatabaseError("a study in memory would be lost: name a file, as in sqlite:///humans/study.sqlite")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
            engine = create_engine(parsed, connect_args=options, pool_size=40, max_overflow=8)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"{parsed.drivername}: its driver is not installed ({error}); for PostgreSQL: "
                            "pip install 'psycopg[binary]' and a URL postgresql+psycopg://...") from None  # fmt: skip
    except OSError as error:
        raise DatabaseError(f"{parsed.database}: {error.strerror or error}") from None


def _prepare_sqlite(connection, _) -> None:
    """WAL: readers never wait. FULL: an answer that was acknowledged outlives a power cut. Deleted is overwritten."""
    connection.isolation_level = None
    wait = f"busy_timeout={BUSY_SECONDS * 1000}"
    for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def explain(error: DBAPIError) -> str:
    """What a person can do about an error of the database itself."""
    said = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    if "disk is full" in said or "No space left" in said or getattr(error.orig, "errno", None) == errno.ENOSPC:
        return f"the disk is full ({said}): free some space; answers wait in the participants' browsers meanwhile"
    if "readonly" in said or "unable to open" in said:
        return f"the database cannot be written ({said}): mend the permissions of the file and its folder"
    if "not a database" in said:
        return f"the file is not an SQLite database ({said}): name another with --database"
    return said


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
        raise DatabaseError(f"{_shown(database.url)}: {explain(error)}") from None
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
    where = _shown(database.url)
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


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def default_url() -> str:
    """The database's URL where none is given: SYNESTHESIA_STUDY_DATABASE, or a file under humans/."""
    return os.environ.get("SYNESTHESIA_STUDY_DATABASE") or "sqlite:///humans/study.sqlite"
