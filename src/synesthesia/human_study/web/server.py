"""Server startup: every error that can be detected is raised before the first participant joins."""

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
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.connection import Database, DatabaseError, redact_password
from synesthesia.human_study.design import materials
from synesthesia.human_study.stimuli import encode
from synesthesia.human_study.web import participant, security
from synesthesia.human_study.web.app_state import AppState, ServerSettings
from synesthesia.human_study.web.security import PASSWORD_ENV

SETTINGS_ENV = "SYNESTHESIA_HUMAN_STUDY_SETTINGS"
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


class ServeError(ValueError):
    """The study cannot be served; the message gives the reason and a remedy."""


def prepare_study(
    pipeline_config: config.Config,
    database_url: str,
    folder: Path,
    out_dir: Path = Path("out"),
    is_simulated: bool = False,
) -> Database:
    """Create or check the plan, and create missing stimuli.

    Args:
        pipeline_config: All parameters.
        database_url: SQLAlchemy URL.
        folder: Folder of the secret and the stimuli; created if missing.
        out_dir: Folder of the pipeline's outputs.
        is_simulated: Whether the study is for simulated participants.

    Returns:
        The open database.

    Raises:
        DatabaseError: The database cannot be used, or holds another study.
        ConsentError: The consent text is invalid.
        MaterialsError: The pipeline's outputs do not suffice.
        PlanError: No plan exists for the parameters.
        SecurityError: The secret is too short.
        StimulusError: Stimuli cannot be created.
        StoreError: The clip store is damaged.
    """
    study_config = pipeline_config.human_study
    consent.load_consent(study_config)
    folder.mkdir(parents=True, exist_ok=True)
    secret = security.load_secret(folder / "secret")
    study_materials = materials.load_materials(study_config, out_dir)
    database = Database(database_url)
    try:
        stored_plan.create_study(database, study_config, study_materials, is_simulated)
        study = stored_plan.load_study(database, stored_plan.compute_fingerprint(study_config, study_materials))
        if study.is_simulated != is_simulated:
            kind = "simulated participants" if study.is_simulated else "a real study"
            url = redact_password(database_url)
            raise DatabaseError(f"{url} holds {kind}: simulated and real answers never share a database")
        encode.make_stimuli(
            folder / "stimuli",
            encode.StimulusNames(secret),
            Store(out_dir / "curate/store"),
            stored_plan.load_questions(database).values(),
            study_config.audio_codec,
            study_config.seed,
        )
    except BaseException:
        database.close()
        raise
    return database


def load_app_state(settings: ServerSettings) -> AppState:
    """Load the state of a server process for a prepared study.

    Args:
        settings: Settings of the server.

    Returns:
        The state.

    Raises:
        ConfigError: The parameters are invalid.
        DatabaseError: The database cannot be used.
        SecurityError: The secret or the password is too weak.
    """
    study_config = config.load(settings.params_path).human_study
    secret = security.load_secret(Path(settings.folder) / "secret")
    return AppState(settings, study_config, secret, security.check_password(os.environ[PASSWORD_ENV]))


def create_worker_app() -> FastAPI:
    """Create the application of a uvicorn worker, with settings from the environment."""
    return participant.create_app(load_app_state(ServerSettings(**json.loads(os.environ[SETTINGS_ENV]))))


def require_free_port(host: str, port: int) -> None:
    """Check that a server can listen on an address.

    Args:
        host: Host name or address.
        port: Port; 0 for any.

    Raises:
        ServeError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"{host}:{port} cannot be used ({error.strerror}): is the study running already? "
                             "Choose another with --port") from None  # fmt: skip


def serve(settings: ServerSettings, host: str, port: int, workers: int) -> None:
    """Serve a prepared study until stopped.

    Args:
        settings: Settings of the server.
        host: Address to listen on.
        port: Port.
        workers: Number of server processes.

    Raises:
        SecurityError: The researcher's password is too weak.
        ServeError: The address cannot be used.
    """
    import uvicorn

    require_free_port(host, port)
    is_password_generated = not os.environ.get(PASSWORD_ENV)
    if is_password_generated:
        os.environ[PASSWORD_ENV] = security.generate_password()
    security.check_password(os.environ[PASSWORD_ENV])
    os.environ[SETTINGS_ENV] = json.dumps(dataclasses.asdict(settings))
    _print_startup_message(settings, host, port, is_password_generated)
    uvicorn.run("synesthesia.human_study.web.server:create_worker_app", factory=True, host=host, port=port,
                workers=workers, access_log=False, log_level="warning", server_header=False, timeout_keep_alive=65,
                timeout_graceful_shutdown=10)  # fmt: skip


def _print_startup_message(settings: ServerSettings, host: str, port: int, is_password_generated: bool) -> None:
    database = Database(settings.database_url)
    study = stored_plan.load_study(database)
    database.close()
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    password = f"{os.environ[PASSWORD_ENV]} (generated)" if is_password_generated else f"see {PASSWORD_ENV}"
    print(f"The study: {study.description}")
    print(f"  participants   {url}/")
    print(f"  researcher     {url}/admin")
    print(f"  password       {password}")
    if study.is_simulated:
        print("  SIMULATED: this database is for simulated participants")
    if not consent.load_consent(config.load(settings.params_path).human_study).has_contact:
        print(f"  before you invite anybody: set human_study.contact in {settings.params_path}")
    if host not in LOOPBACK_HOSTS and not settings.https:
        print("  open to the network without TLS: add a reverse proxy and --https, see docs/how-to/humans.md")
    print("Stop with Ctrl+C. Start again with the same command, and participants continue where they were.")
    sys.stdout.flush()
