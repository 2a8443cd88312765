"""Forged requests: other pages, stolen tokens, cookies that were edited."""

import pytest
from fastapi.testclient import TestClient

from synesthesia.human_study.web import participant
from synesthesia.human_study.web.security import Signer, is_same_origin
from tests.helpers.study_participants import Person

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def person(joined):
    return joined()


@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
def test_without_the_pages_own_token_nothing_is_changed(person, token):
    here = person.now()
    headers = {} if token is None else {"X-Study-Token": token.encode()}
    for path in ("/api/answer", "/api/withdraw", "/api/join"):
        body = {"agreed": True} if path == "/api/join" else {"number": 0, "key": "a" * 32}
        assert person.http.post(path, json=body, headers=headers).status_code == 403
    assert person.now() == here


def test_the_token_of_another_session_is_no_good(joined, person):
    other = joined()
    assert person.http.post("/api/withdraw", json={}, headers={"X-Study-Token": other.token}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://evil/testserver"]
)
def test_a_request_that_another_page_made_is_refused(person, origin):
    assert person.post("/api/withdraw", {}, Origin=origin).status_code == 403
    assert person.now()["state"] == "active"


def test_the_pages_own_origin_is_let_through(person):
    assert person.post("/api/withdraw", {}, Origin="http://testserver").status_code == 200
    assert is_same_origin(None, "a") and not is_same_origin("http://a", "b")


def test_cookies_are_signed_closed_to_scripts_and_to_other_sites(site, joined):
    fresh = Person(joined.app)
    cookie = fresh.http.get("/?participant=x", follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    site.settings = site.settings.__class__(**{**site.settings.__dict__, "https": True})
    secure = Person(participant.create_app(site)).http.get("/?participant=x", follow_redirects=False).headers
    assert "Secure" in secure["set-cookie"] and "max-age" in secure["strict-transport-security"]


def test_an_edited_cookie_is_no_session(joined, person):
    value = person.http.cookies["study_session"]
    other = "A" if value[10] != "A" else "B"
    for wrong in (value[:-3] + "abc", value[5:], "", "x" * 4000, value[:10] + other + value[11:]):
        bare = TestClient(joined.app)
        assert bare.get("/api/now", headers={"Cookie": f"study_session={wrong}"}).status_code == 401
    assert bare.get("/api/now", headers={"Cookie": f"study_session={value}"}).status_code == 200


def test_a_cookie_for_one_purpose_is_none_for_another_and_ends_with_its_time():
    signer = Signer(b"s" * 32)
    sealed = signer.sign("value", "session")
    assert signer.unsign(sealed, "session", 60) == "value"
    assert signer.unsign(sealed, "admin", 60) is None
    assert signer.unsign(sealed, "session", -1) is None
    assert Signer(b"t" * 32).unsign(sealed, "session", 60) is None


def test_what_changes_something_is_never_a_get(person):
    for path in ("/api/answer", "/api/withdraw", "/api/join", "/admin/state", "/admin/delete", "/admin/login"):
        assert person.http.get(path).status_code in (404, 405)
