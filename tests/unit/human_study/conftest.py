"""A little study that was prepared once, and participants who go through it without a browser.

The server's libraries are imported where a test asks for a server: the first tier does not.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from synesthesia.human_study.web.app_state import AppState
    from tests.helpers.study_participants import Person, Server, ServerHere


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A folder with out/, params.yaml and humans/ (secret and stimuli); its database has the plan and nobody in it."""
    import yaml

    from synesthesia.human_study.web import server as serve
    from tests.helpers import small_human_study

    folder = tmp_path_factory.mktemp("little")
    small_human_study.make(folder / "out")
    given = small_human_study.parameters()
    url = f"sqlite:///{folder}/humans/study.sqlite"
    serve.prepare_study(given, url, folder / "humans", folder / "out").close()
    (folder / "params.yaml").write_text(yaml.safe_dump(given.model_dump()))
    return folder


@pytest.fixture
def make_site(prepared, tmp_path):
    """Sites of fresh databases: `make_site(trials=6, ...)`; the same database again with `url`."""
    from synesthesia.human_study.web import server as serve
    from synesthesia.human_study.web.app_state import AppState, ServerSettings
    from tests.helpers import small_human_study
    from tests.helpers.study_participants import PASSWORD

    sites, numbers = [], itertools.count()

    def make(url: str | None = None, simulated: bool = False, **changes) -> AppState:
        given = small_human_study.parameters(**changes)
        if url is None:
            url = f"sqlite:///{tmp_path}/{next(numbers)}.sqlite"
        serve.prepare_study(given, url, prepared / "humans", prepared / "out", simulated).close()
        settings = ServerSettings(str(prepared / "params.yaml"), url, str(prepared / "humans"))
        secret = (prepared / "humans/secret").read_bytes()
        site = AppState(settings, given.human_study, secret, PASSWORD)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.database.close()


@pytest.fixture
def site(make_site):
    return make_site()


@pytest.fixture
def joined(site):
    """`joined()` is a new participant of `site`; `joined.app` the application."""
    from synesthesia.human_study.web import participant
    from tests.helpers.study_participants import Person

    app = participant.create_app(site)

    def join(link: str = "/") -> Person:
        person = Person(app, link)
        reply = person.join()
        assert reply.status_code == 200, reply.text
        return person

    join.app = app
    return join


@pytest.fixture
def copied(prepared, tmp_path):
    """`copied(trials=6, ...)`: a folder with the prepared study and its own parameters, without a database."""
    import yaml

    from tests.helpers import small_human_study

    numbers = itertools.count()

    def copy(**study) -> Path:
        folder = tmp_path / f"served{next(numbers)}"
        folder.mkdir()
        (folder / "out").symlink_to(prepared / "out")
        shutil.copytree(prepared / "humans", folder / "humans", ignore=shutil.ignore_patterns("study.sqlite*"))
        (folder / "params.yaml").write_text(yaml.safe_dump(small_human_study.parameters(**study).model_dump()))
        return folder

    return copy


@pytest.fixture
def served(copied):
    """`served(workers=1, trials=6, ...)`: a server in a process of its own; stopped at the end."""
    from tests.helpers.study_participants import Server

    servers = []

    def start(workers: int = 1, **study) -> Server:
        servers.append(Server(copied(**study), "sqlite:///humans/study.sqlite", workers))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def served_here(copied):
    """`served_here(trials=6, ...)`: a server in this process; stopped at the end."""
    from tests.helpers.study_participants import ServerHere

    servers = []

    def start(**study) -> ServerHere:
        folder = copied(**study)
        servers.append(ServerHere(folder, f"sqlite:///{folder}/humans/study.sqlite"))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_url(request, tmp_path):
    """A database's URL, on SQLite and on PostgreSQL where its programs are installed."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/either.sqlite"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """A PostgreSQL server of these tests' own, on a socket in a temporary folder."""
    from synesthesia.human_study.db import temporary_postgres

    if temporary_postgres.find_server_binaries() is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
    with temporary_postgres.temporary_server() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql):
    """An empty database on it."""
    import uuid

    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    name = f"study_{uuid.uuid4().hex[:12]}"
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(postgresql).set(database=name).render_as_string(hide_password=False)
