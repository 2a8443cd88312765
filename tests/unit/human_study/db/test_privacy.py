"""What is kept of people: no name, no address, no external id in clear; and nothing after they withdraw."""

import re

import pytest
from sqlalchemy import inspect

from synesthesia.human_study.db import schema
from synesthesia.human_study.web import security
from tests.helpers.study_participants import Person, RealPerson

pytestmark = pytest.mark.slow  # a real server and database


def dump(site):
    """Every cell of the database as text."""
    with site.database.read() as connection:
        names = inspect(connection).get_table_names()
        return "\n".join(str(connection.exec_driver_sql(f'SELECT * FROM "{n}"').all()) for n in names)


def test_an_external_id_is_kept_as_a_keyed_hash_alone(site, joined):
    import hashlib

    joined("/?PROLIFIC_PID=5f0c1a2b3c4d5e6f").go()
    kept = dump(site)
    assert "5f0c1a2b3c4d5e6f" not in kept
    plain = hashlib.sha256(b"5f0c1a2b3c4d5e6f").digest()
    assert str(plain)[2:-1] not in kept and plain.hex() not in kept


def test_the_cookie_holds_no_external_id_in_clear(site, joined):
    import base64

    person = Person(joined.app, "/?PROLIFIC_PID=5f0c1a2b3c4d5e6f")
    cookie = person.http.cookies["study_session"].split(".")[0]
    assert b"5f0c1a2b3c4d5e6f" not in base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))


def test_no_column_could_hold_a_name_or_an_address():
    columns = {c.name for t in schema.METADATA.tables.values() for c in t.columns}
    assert not {c for c in columns if re.search("name|mail|address|^ip|agent|country|age$", c)}


def test_participants_are_random_and_tell_no_order(site, joined):
    people = 12  # so many random ones stand in order by chance once in half a billion times
    for _ in range(people):
        joined()
    with site.database.read() as connection:
        ids = [r.id for r in connection.execute(schema.PARTICIPANT.select().order_by("began_at"))]
    assert len(set(ids)) == people and all(re.fullmatch("p[0-9a-f]{16}", i) for i in ids) and ids != sorted(ids)


def test_after_withdrawing_the_files_hold_nothing_of_the_participant(site, joined):
    person = joined("/?PROLIFIC_PID=gone")
    step = person.go("comments")["step"]
    person.answer(step, comment="something only I would write")
    participant = dump(site)
    found = re.search(r"p[0-9a-f]{16}", participant)[0]
    person.post("/api/withdraw", {})
    kept = dump(site)
    assert found not in kept and "something only I" not in kept
    from pathlib import Path

    path = Path(site.settings.database.removeprefix("sqlite:///"))
    raw = b"".join(p.read_bytes() for p in path.parent.glob(path.name + "*"))
    assert b"something only I" not in raw


@pytest.mark.slow
def test_a_server_writes_no_address_anywhere(served):
    server = served()
    with RealPerson(server.base, "/?participant=me") as person:
        person.join()
        person.go()
    server.stop()
    for path in server.folder.rglob("*"):
        if path.is_file() and "stimuli" not in path.parts and "out" not in path.relative_to(server.folder).parts:
            text = path.read_bytes().replace(b"http://127.0.0.1:", b"").replace(b"127.0.0.1:8000", b"")
            assert b"127.0.0.1" not in text, path


def test_the_secret_is_made_once_for_its_owner_alone_and_a_short_one_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    first = security.load_secret(path)
    assert security.load_secret(path) == first and len(first) == 64
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("x")
    with pytest.raises(security.SecurityError, match="too short for a secret"):
        security.load_secret(path)
    monkeypatch.setenv("SYNESTHESIA_STUDY_SECRET", "weak")
    with pytest.raises(security.SecurityError, match="has 4 characters"):
        security.load_secret(path)
