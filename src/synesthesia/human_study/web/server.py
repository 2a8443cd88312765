"""Starting the study: everything that can be wrong is found before the first participant comes."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
from pathlib import Path

from fastapi import FastAPI

from synesthesia import config
from synesthesia.data.store import Store
from synesthesia.human_study import consent
from synesthesia.human_study.db import connection, stored_plan
from synesthesia.human_study.design import materials
from synesthesia.human_study.stimuli import encode
from synesthesia.human_study.web import participant, security
from synesthesia.human_study.web.app_state import Settings, Site

SETTINGS, PASSWORD = "SYNESTHESIA_STUDY_SETTINGS", "SYNESTHESIA_ADMIN_PASSWORD"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServeError(ValueError):
    """The study cannot be served; the message says why and what to do."""


def prepare(
    given: config.Params, url: str, folder: Path, out: Path = Path("out"), simulated: bool = False
) -> connection.Database:
    """Make or check the plan and make missing stimuli; the database is left open. Raises the errors of each part."""
    consent.load(given.study)
    folder.mkdir(parents=True, exist_ok=True)
    secret = security.load_secret(folder / "secret")
    chosen = materials.load(given.study, out)
    opened = connection.Database(url)
    try:
        stored_plan.create(opened, given.study, chosen, simulated)
        row = stored_plan.open_study(opened, stored_plan.fingerprint(given.study, chosen))
        if row.simulated != simulated:
            kind = "simulated participants" if row.simulated else "a real study"
            raise connection.DatabaseError(f"{url} holds {kind}: simulated and real answers never share a database")
        names, questions = encode.Names(secret), stored_plan.questions(opened).values()
        encode.make(
            folder / "stimuli", names, Store(out / "curate/store"), questions, given.study.sound, given.study.seed
        )
    except BaseException:
        opened.close()
        raise
    return opened


def site(settings: Settings) -> Site:
    """The site of a prepared study."""
    study = config.load(settings.params).study
    secret = security.load_secret(Path(settings.folder) / "secret")
    return Site(settings, study, secret, security.check_password(os.environ[PASSWORD]))


def app() -> FastAPI:
    """What each uvicorn worker runs; the settings come through the environment."""
    return participant.create(site(Settings(**json.loads(os.environ[SETTINGS]))))


def require_free(host: str, port: int) -> None:
    """Raise ServeError where nothing can be served at this place."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"{host}:{port} cannot be used ({error.strerror}): is the study running already? "
                             "Choose another with --port") from None  # fmt: skip


def serve(settings: Settings, host: str, port: int, workers: int, announce: bool = True) -> None:
    """Serve a prepared study until it is stopped."""
    import uvicorn

    require_free(host, port)
    generated = not os.environ.get(PASSWORD)
    if generated:
        os.environ[PASSWORD] = security.made_password()
    security.check_password(os.environ[PASSWORD])
    os.environ[SETTINGS] = json.dumps(dataclasses.asdict(settings))
    if announce:
        _announce(settings, host, port, generated)
    uvicorn.run("synesthesia.human_study.web.server:app", factory=True, host=host, port=port, workers=workers, access_log=False,
                log_level="warning", server_header=False, timeout_keep_alive=65,
                timeout_graceful_shutdown=10)  # fmt: skip


def _announce(settings: Settings, host: str, port: int, generated: bool) -> None:
    opened = connection.Database(settings.database)
    row = stored_plan.open_study(opened)
    opened.close()
    shown = f"[{host}]" if ":" in host else host
    print(f"The study: {row.about}")
    print(f"  participants   http://{shown}:{port}/")
    print(f"  researcher     http://{shown}:{port}/admin")
    print(
        "  password       " + (f"{os.environ[PASSWORD]} (made for this start)" if generated else f"that of {PASSWORD}")
    )
    if row.simulated:
        print("  SIMULATED: this database is for simulated participants")
    study = config.load(settings.params).study
    if not consent.load(study).ready:
        print(f"  before you invite anybody: say in study.contact who you are ({settings.params})")
    if host not in LOOPBACK and not settings.https:
        print(
            "  open to the network without TLS: put a reverse proxy in front and add --https, see docs/human-study.md"
        )
    print("Stop with Ctrl+C; start again with the same command, and everybody goes on where they were.")
    sys.stdout.flush()
