"""Privacy: no name, no address, no external id in clear, and nothing left after withdrawal."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from sqlalchemy import inspect

from synesthesia.human_study.db import schema
from synesthesia.human_study.web import security
from tests.helpers.study_participants import Participant, RemoteParticipant

pytestmark = pytest.mark.slow  # a real server and database


def dump(app_state):
    """Every cell of the database as text."""
    with app_state.database.read() as connection:
        names = inspect(connection).get_table_names()
        return "\n".join(str(connection.exec_driver_sql(f'SELECT * FROM "{n}"').all()) for n in names)


def test_an_external_id_is_stored_as_a_keyed_hash_only(app_state, new_participant):
    new_participant("/?PROLIFIC_PID=5f0c1a2b3c4d5e6f").answer_until()
    content = dump(app_state)
    assert "5f0c1a2b3c4d5e6f" not in content
    plain_hash = hashlib.sha256(b"5f0c1a2b3c4d5e6f").digest()
    assert str(plain_hash)[2:-1] not in content and plain_hash.hex() not in content


def test_the_cookie_holds_no_external_id_in_clear(app_state, new_participant):
    person = Participant(new_participant.app, "/?PROLIFIC_PID=5f0c1a2b3c4d5e6f")
    cookie = person.http.cookies["study_session"].split(".")[0]
    assert b"5f0c1a2b3c4d5e6f" not in base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))


def test_no_column_could_hold_a_name_or_an_address():
    columns = {c.name for t in schema.METADATA.tables.values() for c in t.columns}
    assert not {c for c in columns if re.search("name|mail|address|^ip|agent|country|age$", c)}


def test_participant_ids_are_random_and_reveal_no_order(app_state, new_participant):
    n_participants = 12  # random ids are sorted by chance once in half a billion times
    for _ in range(n_participants):
        new_participant()
    with app_state.database.read() as connection:
        ids = [r.id for r in connection.execute(schema.PARTICIPANT.select().order_by("started_at"))]
    assert len(set(ids)) == n_participants and all(re.fullmatch("p[0-9a-f]{16}", i) for i in ids) and ids != sorted(ids)


def test_after_withdrawal_the_files_hold_nothing_of_the_participant(app_state, new_participant):
    person = new_participant("/?PROLIFIC_PID=gone")
    step = person.answer_until("comments")["step"]
    person.answer(step, comment="something only I would write")
    participant = re.search(r"p[0-9a-f]{16}", dump(app_state))[0]
    person.post("/api/withdraw", {})
    content = dump(app_state)
    assert participant not in content and "something only I" not in content
    path = Path(app_state.settings.database_url.removeprefix("sqlite:///"))
    raw = b"".join(p.read_bytes() for p in path.parent.glob(path.name + "*"))
    assert b"something only I" not in raw


@pytest.mark.slow
def test_a_server_writes_no_address(start_server):
    server = start_server()
    with RemoteParticipant(server.base_url, "/?participant=me") as person:
        person.join()
        person.answer_until()
    server.stop()
    for path in server.folder.rglob("*"):
        if path.is_file() and "stimuli" not in path.parts and "out" not in path.relative_to(server.folder).parts:
            text = path.read_bytes().replace(b"http://127.0.0.1:", b"").replace(b"127.0.0.1:8000", b"")
            assert b"127.0.0.1" not in text, path


def test_the_secret_is_generated_once_with_mode_600_and_a_short_one_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    first = security.load_secret(path)
    assert security.load_secret(path) == first and len(first) == 64
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("x")
    with pytest.raises(security.SecurityError, match="too short for a secret"):
        security.load_secret(path)
    monkeypatch.setenv("SYNESTHESIA_HUMAN_STUDY_SECRET", "weak")
    with pytest.raises(security.SecurityError, match="has 4 characters"):
        security.load_secret(path)
