"""A temporary PostgreSQL server with data in a temporary folder and connections through a Unix socket."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class PostgresError(RuntimeError):
    """The server does not start; the message is its output."""


def find_server_binaries() -> Path | None:
    """Find the folder with initdb and pg_ctl: on the PATH, or where Debian installs the newest version."""
    initdb = shutil.which("initdb")
    folders = [os.path.dirname(initdb)] if initdb else []
    folders += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    return next((Path(f) for f in folders if all(os.access(f"{f}/{p}", os.X_OK) for p in ("initdb", "pg_ctl"))), None)


@contextmanager
def temporary_server() -> Iterator[str]:
    """Start a server and yield its URL (user and database `study`); stop it and delete its data afterwards."""
    folder = tempfile.mkdtemp(prefix="study-pg-")
    bin_folder = find_server_binaries()
    if bin_folder is None:
        raise PostgresError("initdb and pg_ctl are not installed; on Debian: apt-get install postgresql")
    account_options: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = next((n for n in ("postgres", "nobody") if _user_exists(n)), None)
        if account is None:
            raise PostgresError("PostgreSQL does not run as root, and there is no user postgres or nobody")
        entry = pwd.getpwnam(account)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        account_options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def run(*command: str) -> None:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **account_options)
        if result.returncode:
            log = Path(folder, "log")
            raise PostgresError(result.stderr + (log.read_text() if log.exists() else ""))

    options = f"-k {folder} -c listen_addresses= -c max_connections=120"
    data = f"{folder}/data"
    try:
        run(f"{bin_folder}/initdb", "-D", data, "-U", "study", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run(f"{bin_folder}/pg_ctl", "-D", data, "-l", f"{folder}/log", "-w", "-t", "60", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://study@/postgres?host={folder}"
        finally:
            run(f"{bin_folder}/pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
