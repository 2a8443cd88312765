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
from synesthesia.human_study.web.app_state import AppState, ServerSettings

SETTINGS_ENV, PASSWORD_ENV = "SYNESTHESIA_STUDY_SETTINGS", "SYNESTHESIA_ADMIN_PASSWORD"
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


class ServeError(ValueError):
    """The study cannot be served; the message says why and what to do."""


def prepare_study(
    pipeline_config: config.Config,
    database_url: str,
    folder: Path,
    out_dir: Path = Path("out"),
    is_simulated: bool = False,
) -> connection.Database:
    """Make or check the plan and make missing stimuli; the database is left open. Raises the errors of each part."""
    consent.load_consent(pipeline_config.human_study)
    folder.mkdir(parents=True, exist_ok=True)
    secret = security.load_secret(folder / "secret")
    chosen = materials.load_materials(pipeline_config.human_study, out_dir)
    opened = connection.Database(database_url)
    try:
        stored_plan.create_study(opened, pipeline_config.human_study, chosen, is_simulated)
        row = stored_plan.load_study(opened, stored_plan.compute_fingerprint(pipeline_config.human_study, chosen))
        if row.simulated != is_simulated:
            kind = "simulated participants" if row.simulated else "a real study"
            raise connection.DatabaseError(
                f"{database_url} holds {kind}: simulated and real answers never share a database"
            )
        names, questions = encode.StimulusNames(secret), stored_plan.load_questions(opened).values()
        encode.make_stimuli(
            folder / "stimuli",
            names,
            Store(out_dir / "curate/store"),
            questions,
            pipeline_config.human_study.audio_codec,
            pipeline_config.human_study.seed,
        )
    except BaseException:
        opened.close()
        raise
    return opened


def load_app_state(settings: ServerSettings) -> AppState:
    """The site of a prepared study."""
    study = config.load(settings.params_path).human_study
    secret = security.load_secret(Path(settings.folder) / "secret")
    return AppState(settings, study, secret, security.check_password(os.environ[PASSWORD_ENV]))


def create_worker_app() -> FastAPI:
    """What each uvicorn worker runs; the settings come through the environment."""
    return participant.create_app(load_app_state(ServerSettings(**json.loads(os.environ[SETTINGS_ENV]))))


def require_free_port(host: str, port: int) -> None:
    """Raise ServeError where nothing can be served at this place."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"{host}:{port} cannot be used ({error.strerror}): is the study running already? "
                             "Choose another with --port") from None  # fmt: skip


def serve(settings: ServerSettings, host: str, port: int, workers: int, announce: bool = True) -> None:
    """Serve a prepared study until it is stopped."""
    import uvicorn

    require_free_port(host, port)
    generated = not os.environ.get(PASSWORD_ENV)
    if generated:
        os.environ[PASSWORD_ENV] = security.generate_password()
    security.check_password(os.environ[PASSWORD_ENV])
    os.environ[SETTINGS_ENV] = json.dumps(dataclasses.asdict(settings))
    if announce:
        _print_startup_message(settings, host, port, generated)
    uvicorn.run("synesthesia.human_study.web.server:app", factory=True, host=host, port=port, workers=workers, access_log=False,
                log_level="warning", server_header=False, timeout_keep_alive=65,
                timeout_graceful_shutdown=10)  # fmt: skip


def _print_startup_message(settings: ServerSettings, host: str, port: int, is_password_generated: bool) -> None:
    opened = connection.Database(settings.database_url)
    row = stored_plan.load_study(opened)
    opened.close()
    shown = f"[{host}]" if ":" in host else host
    print(f"The study: {row.about}")
    print(f"  participants   http://{shown}:{port}/")
    print(f"  researcher     http://{shown}:{port}/admin")
    print(
        "  password       "
        + (f"{os.environ[PASSWORD_ENV]} (made for this start)" if is_password_generated else f"that of {PASSWORD_ENV}")
    )
    if row.simulated:
        print("  SIMULATED: this database is for simulated participants")
    study = config.load(settings.params_path).human_study
    if not consent.load_consent(study).has_contact:
        print(f"  before you invite anybody: say in study.contact who you are ({settings.params_path})")
    if host not in LOOPBACK_HOSTS and not settings.https:
        print(
            "  open to the network without TLS: put a reverse proxy in front and add --https, see docs/human-study.md"
        )
    print("Stop with Ctrl+C; start again with the same command, and everybody goes on where they were.")
    sys.stdout.flush()
