"""Forged requests: other origins, other sessions' tokens, edited cookies."""

import pytest
from fastapi.testclient import TestClient

from synesthesia.human_study.web.participant import create_app
from synesthesia.human_study.web.security import Signer, is_same_origin
from tests.helpers.study_participants import Participant

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def person(new_participant):
    return new_participant()


@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
def test_without_the_csrf_token_nothing_changes(person, token):
    session = person.session()
    headers = {} if token is None else {"X-CSRF-Token": token.encode()}
    for path in ("/api/answer", "/api/withdraw", "/api/join"):
        body = {"has_consented": True} if path == "/api/join" else {"number": 0, "idempotency_key": "a" * 32}
        assert person.http.post(path, json=body, headers=headers).status_code == 403
    assert person.session() == session


def test_the_csrf_token_of_another_session_is_refused(new_participant, person):
    headers = {"X-CSRF-Token": new_participant().csrf_token}
    assert person.http.post("/api/withdraw", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://evil/testserver"]
)
def test_a_request_from_another_origin_is_refused(person, origin):
    assert person.post("/api/withdraw", {}, Origin=origin).status_code == 403
    assert person.session()["state"] == "active"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://study.example.org", "study.example.org:443"),
        ("https://study.example.org", "study.example.org:80"),
        ("http://study.example.org", "study.example.org:80"),
        ("https://study.example.org", "Study.Example.org"),
        ("https://study.example.org", "STUDY.EXAMPLE.ORG:443"),
        ("https://study.example.org:443", "study.example.org"),
        ("https://study.example.org", "study.example.org."),
        ("HTTPS://study.example.org:8443", "study.example.org:8443"),
        ("https://[::1]", "[::1]:443"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
    ],
)
def test_a_host_as_proxies_write_it_is_the_same_origin(person, origin, host):
    assert is_same_origin(origin, host)
    assert person.post("/api/join", {"has_consented": True}, Origin=origin, Host=host).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://study.example.org:8443", "study.example.org"),
        ("https://study.example.org", "study.example.org:8443"),
        ("https://study.example.org.evil.example", "study.example.org"),
        ("https://study.example.org@evil.example", "evil.example"),
        ("https://evil.example/study.example.org", "study.example.org"),
        ("study.example.org", "study.example.org"),
        ("null", "null"),
        ("file://", ""),
        ("https://", ""),
        ("https://a b", "a b"),
        ("https://study.example.org", None),
        ("chrome-extension://study.example.org", "study.example.org"),
    ],
)
def test_another_port_name_or_scheme_is_another_origin(origin, host):
    assert not is_same_origin(origin, host)


def test_the_pages_own_origin_is_accepted(person):
    assert person.post("/api/withdraw", {}, Origin="http://testserver").status_code == 200
    assert is_same_origin(None, "a") and not is_same_origin("http://a", "b")


def test_cookies_are_unavailable_to_scripts_and_other_sites_and_secure_over_https(app_state, new_participant):
    person = Participant(new_participant.app)
    cookie = person.http.get("/?participant=x", follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    app_state.settings = app_state.settings.__class__(**{**app_state.settings.__dict__, "https": True})
    person = Participant(create_app(app_state))
    headers = person.http.get("/?participant=x", follow_redirects=False).headers
    assert "Secure" in headers["set-cookie"] and "max-age" in headers["strict-transport-security"]


def test_an_edited_cookie_is_no_session(new_participant, person):
    value = person.http.cookies["study_session"]
    other = "A" if value[10] != "A" else "B"
    for edited in (value[:-3] + "abc", value[5:], "", "x" * 4000, value[:10] + other + value[11:]):
        client = TestClient(new_participant.app)
        assert client.get("/api/session", headers={"Cookie": f"study_session={edited}"}).status_code == 401
    assert client.get("/api/session", headers={"Cookie": f"study_session={value}"}).status_code == 200


def test_a_cookie_is_valid_for_one_purpose_secret_and_time_only():
    signer = Signer(b"s" * 32)
    signed = signer.sign("value", "session")
    assert signer.unsign(signed, "session", 60) == "value"
    assert signer.unsign(signed, "admin", 60) is None
    assert signer.unsign(signed, "session", -1) is None
    assert Signer(b"t" * 32).unsign(signed, "session", 60) is None


def test_requests_that_change_something_are_never_get(person):
    for path in ("/api/answer", "/api/withdraw", "/api/join", "/admin/state", "/admin/delete", "/admin/login"):
        assert person.http.get(path).status_code in (404, 405)
