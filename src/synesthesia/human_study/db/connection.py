"""Connections to the database: SQLite in WAL mode, or any other that SQLAlchemy speaks; tried with PostgreSQL."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

BUSY_TIMEOUT_SECONDS = 15


class DatabaseError(ValueError):
    """A database that cannot be used; the message says why and what to do."""


class Database:
    """Connections to a study's database. Reads see a snapshot; writes are short and come one after another."""

    def __init__(self, url: str):
        self.url = url
        self.engine = _create_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._write_lock = (
            threading.Lock()
        )  # threads of this process wait here rather than in SQLite's sleeping retries

    @contextmanager
    def write(self) -> Iterator:
        """A transaction that is committed, or undone when the block raises."""
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._write_lock, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def truncate_wal(self) -> None:
        """Take what was deleted out of SQLite's write-ahead log as well, unless somebody reads just now."""
        if self.is_sqlite:
            with self._write_lock, self.engine.connect() as connection:
                connection.connection.dbapi_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _create_engine(url: str) -> Engine:
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
            options = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
            engine = create_engine(parsed, connect_args=options, pool_size=40, max_overflow=8)
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"{parsed.drivername}: its driver is not installed ({error}); for PostgreSQL: "
                            "pip install 'psycopg[binary]' and a URL postgresql+psycopg://...") from None  # fmt: skip
    except OSError as error:
        raise DatabaseError(f"{parsed.database}: {error.strerror or error}") from None


def _configure_sqlite(connection, _) -> None:
    """WAL: readers never wait. FULL: an answer that was acknowledged outlives a power cut. Deleted is overwritten."""
    connection.isolation_level = None
    wait = f"busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}"
    for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def explain_error(error: DBAPIError) -> str:
    """What a person can do about an error of the database itself."""
    said = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    if "disk is full" in said or "No space left" in said or getattr(error.orig, "errno", None) == errno.ENOSPC:
        return f"the disk is full ({said}): free some space; answers wait in the participants' browsers meanwhile"
    if "readonly" in said or "unable to open" in said:
        return f"the database cannot be written ({said}): mend the permissions of the file and its folder"
    if "not a database" in said:
        return f"the file is not an SQLite database ({said}): name another with --database"
    return said


def redact_password(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def default_url() -> str:
    """The database's URL where none is given: SYNESTHESIA_STUDY_DATABASE, or a file under humans/."""
    return os.environ.get("SYNESTHESIA_STUDY_DATABASE") or "sqlite:///humans/study.sqlite"
