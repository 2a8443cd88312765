"""Fixtures of the human study tests: a small study prepared once, app states, participants, servers, and databases.

Fixtures import server libraries only when used, so that other tests do not need them.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from synesthesia.human_study.web.app_state import AppState
    from tests.helpers.study_participants import Participant, ProcessServer, ThreadServer


@pytest.fixture(scope="session")
def prepared_study(tmp_path_factory) -> Path:
    """Folder with out/, params.yaml, and humans/ (secret and stimuli); the database has the plan, no participants."""
    import yaml

    from synesthesia.human_study.web import server
    from tests.helpers import small_human_study

    folder = tmp_path_factory.mktemp("small")
    small_human_study.make_outputs(folder / "out")
    config = small_human_study.make_config()
    url = f"sqlite:///{folder}/humans/human_study.sqlite"
    server.prepare_study(config, url, folder / "humans", folder / "out").close()
    (folder / "params.yaml").write_text(yaml.safe_dump(config.model_dump()))
    return folder


@pytest.fixture
def make_app_state(prepared_study, tmp_path):
    """`make_app_state(max_replays=6, ...)`: app state with a new database, or with the one at `url`."""
    from synesthesia.human_study.web import server
    from synesthesia.human_study.web.app_state import AppState, ServerSettings
    from tests.helpers import small_human_study
    from tests.helpers.study_participants import PASSWORD

    app_states, numbers = [], itertools.count()

    def make(url: str | None = None, is_simulated: bool = False, **changes) -> AppState:
        config = small_human_study.make_config(**changes)
        if url is None:
            url = f"sqlite:///{tmp_path}/{next(numbers)}.sqlite"
        server.prepare_study(config, url, prepared_study / "humans", prepared_study / "out", is_simulated).close()
        settings = ServerSettings(str(prepared_study / "params.yaml"), url, str(prepared_study / "humans"))
        secret = (prepared_study / "humans/secret").read_bytes()
        app_states.append(AppState(settings, config.human_study, secret, PASSWORD))
        return app_states[-1]

    yield make
    for app_state in app_states:
        app_state.database.close()


@pytest.fixture
def app_state(make_app_state):
    return make_app_state()


@pytest.fixture
def new_participant(app_state):
    """`new_participant()`: a participant of `app_state` who has joined; `new_participant.app`: the application."""
    from synesthesia.human_study.web import participant
    from tests.helpers.study_participants import Participant

    app = participant.create_app(app_state)

    def join(link: str = "/") -> Participant:
        person = Participant(app, link)
        reply = person.join()
        assert reply.status_code == 200, reply.text
        return person

    join.app = app
    return join


@pytest.fixture
def copy_study(prepared_study, tmp_path):
    """`copy_study(max_replays=6, ...)`: a copy of the prepared study with changed parameters, without a database."""
    import yaml

    from tests.helpers import small_human_study

    numbers = itertools.count()

    def copy(**changes) -> Path:
        folder = tmp_path / f"served{next(numbers)}"
        folder.mkdir()
        (folder / "out").symlink_to(prepared_study / "out")
        ignore = shutil.ignore_patterns("human_study.sqlite*")
        shutil.copytree(prepared_study / "humans", folder / "humans", ignore=ignore)
        (folder / "params.yaml").write_text(yaml.safe_dump(small_human_study.make_config(**changes).model_dump()))
        return folder

    return copy


@pytest.fixture
def start_server(copy_study):
    """`start_server(workers=1, max_replays=6, ...)`: a server in a separate process, stopped after the test."""
    from tests.helpers.study_participants import ProcessServer

    servers = []

    def start(workers: int = 1, **changes) -> ProcessServer:
        servers.append(ProcessServer(copy_study(**changes), "sqlite:///humans/human_study.sqlite", workers))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def start_thread_server(copy_study):
    """`start_thread_server(max_replays=6, ...)`: a server in this process, stopped after the test."""
    from tests.helpers.study_participants import ThreadServer

    servers = []

    def start(**changes) -> ThreadServer:
        folder = copy_study(**changes)
        servers.append(ThreadServer(folder, f"sqlite:///{folder}/humans/human_study.sqlite"))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """URL of an empty database: SQLite, and PostgreSQL if it is installed."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a temporary PostgreSQL server."""
    from tests.helpers import temporary_postgres

    if temporary_postgres.find_server_binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with temporary_postgres.temporary_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server):
    """URL of an empty PostgreSQL database."""
    import uuid

    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    name = f"study_{uuid.uuid4().hex[:12]}"
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
