"""Database connections: SQLite in WAL mode, or another database that SQLAlchemy supports; tested with PostgreSQL."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

BUSY_TIMEOUT_SECONDS = 15
SQLITE_OPTIONS = {"timeout", "detect_types", "isolation_level", "check_same_thread", "cached_statements", "uri", "mode",
                  "cache", "vfs", "psow", "nolock", "immutable"}  # fmt: skip  # that a URL may set after `?`
DATABASE_ENV = "SYNESTHESIA_HUMAN_STUDY_DATABASE"


class DatabaseError(ValueError):
    """The database cannot be used; the message gives the reason and a remedy."""


class Database:
    """Connections to a study's database. Reads see a snapshot; writes are short and serialized.

    Args:
        url: SQLAlchemy URL; see `parse_url`.

    Raises:
        DatabaseError: The URL is invalid, its driver is missing, or its folder cannot be created.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _create_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._write_lock = threading.Lock()  # threads wait for it instead of polling SQLite's lock

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction: commit on success, roll back on an exception.

        Yields:
            The connection.
        """
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._write_lock, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only transaction.

        Yields:
            The connection.
        """
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def truncate_wal(self) -> None:
        """Remove deleted rows from SQLite's write-ahead log too, unless a reader is active."""
        if self.is_sqlite:
            with self._write_lock, self.engine.connect() as connection:
                dbapi_connection = connection.connection.dbapi_connection
                assert dbapi_connection is not None
                dbapi_connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def parse_url(url: str) -> URL:
    """Parse a database URL; the path of an SQLite file may hold any characters, quoted or not.

    Args:
        url: SQLAlchemy URL.

    Returns:
        The parsed URL.

    Raises:
        DatabaseError: The URL is invalid.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        shown = re.sub("://.*@", "://***@", url)
        raise DatabaseError(f"{shown!r} is not a database URL; examples: sqlite:///humans/human_study.sqlite, "
                            "postgresql+psycopg://user@host/study") from None  # fmt: skip
    if parsed.get_backend_name() != "sqlite":
        if "@" in (parsed.host or ""):
            raise DatabaseError("the database URL has two @: write %40 for an @ in the password, %2F for a slash")
        return parsed
    literal = url.partition(":///")[2]
    if "?" in literal and (not parsed.query or not set(parsed.query) <= SQLITE_OPTIONS):  # it is a part of the name
        return URL.create(parsed.drivername, database=literal)
    written, decoded = Path(literal.partition("?")[0]), Path(parsed.database or "")
    is_written_path = written.exists() and not decoded.exists()
    if is_written_path or (written.parent.is_dir() and not decoded.parent.is_dir()):
        return parsed.set(database=str(written))
    return parsed


def _create_engine(url: str) -> Engine:
    parsed = parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise DatabaseError("a study in memory would be lost: name a file, for example "
                                    "sqlite:///humans/human_study.sqlite")  # fmt: skip
            if not parsed.database.startswith("file:"):
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            options = {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
            engine = create_engine(parsed, connect_args=options, pool_size=40, max_overflow=8)
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"{parsed.drivername}: the driver is not installed ({error}); for PostgreSQL: "
                            "pip install 'psycopg[binary]' and a URL postgresql+psycopg://...") from None  # fmt: skip
    except OSError as error:
        raise DatabaseError(f"{parsed.database}: {error.strerror or error}") from None


def _configure_sqlite(connection: Any, _: object) -> None:
    """Set WAL (readers never wait), FULL (acknowledged answers survive a power cut), and overwriting of deletions."""
    connection.isolation_level = None
    busy_timeout = f"busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}"
    for pragma in (busy_timeout, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def explain_error(error: DBAPIError) -> str:
    """Explain a database error and its remedy.

    Args:
        error: SQLAlchemy's error.

    Returns:
        One line; the driver's own message if no remedy is known.
    """
    message = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    is_full = "disk is full" in message or "No space left" in message
    if is_full or getattr(error.orig, "errno", None) == errno.ENOSPC:
        return f"the disk is full ({message}): free some space; answers wait in the participants' browsers meanwhile"
    if "readonly" in message or "unable to open" in message:
        return f"the database cannot be written ({message}): fix the permissions of the file and its folder"
    if "not a database" in message:
        return f"the file is not an SQLite database ({message}): name another with --database"
    return message


def redact_password(url: str) -> str:
    """Hide the password of a database URL.

    Args:
        url: SQLAlchemy URL.

    Returns:
        The URL with `***` in place of the password.
    """
    return parse_url(url).render_as_string(hide_password=True)


def default_url() -> str:
    """Return the default database URL: SYNESTHESIA_HUMAN_STUDY_DATABASE, or a file under humans/."""
    return os.environ.get(DATABASE_ENV) or "sqlite:///humans/human_study.sqlite"
