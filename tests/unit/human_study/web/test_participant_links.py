"""Links with a recruiting platform's id: several ids in one browser, placeholders, Safari's cookies, and monitors."""

import re
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from synesthesia.human_study.db.schema import PARTICIPANT
from tests.helpers.study_participants import Participant

pytestmark = pytest.mark.slow  # a real server and database


def count_ids(app_state):
    """Participants, and those of them with an external id."""
    with app_state.database.read() as connection:
        return tuple(connection.execute(select(func.count(), func.count(PARTICIPANT.c.external_id_hash))).one())


def test_each_id_of_a_browser_has_its_own_session_and_code_and_returns_to_it(app_state, new_participant):
    first = new_participant("/?PROLIFIC_PID=first")
    code = first.answer_until()["completion_code"]
    http = first.http
    second = Participant(None, "/?PROLIFIC_PID=second", http)
    assert second.session() == {"state": "none"}
    assert second.join().status_code == 200
    half_way = second.answer_until("trial")
    third = Participant(None, "/?PROLIFIC_PID=third", http)
    assert third.join().status_code == 200
    assert third.session()["step"]["number"] == 0
    assert count_ids(app_state) == (3, 3)
    second = Participant(None, "/?PROLIFIC_PID=second", http)
    assert second.session() == half_way
    http.get("/?PROLIFIC_PID=first")
    assert first.session()["completion_code"] == code
    second = Participant(None, "/?PROLIFIC_PID=second", http)
    assert second.answer_until()["completion_code"] != code


def test_a_page_of_the_previous_participant_changes_nothing_of_the_next(new_participant):
    first = new_participant("/?PROLIFIC_PID=first")
    step = first.answer_until("trial")["step"]
    second = Participant(None, "/?PROLIFIC_PID=second", first.http)
    second.join()
    session = second.session()
    assert first.answer(step).status_code == 403
    assert first.post("/api/withdraw", {}).status_code == 403
    assert second.session() == session


def test_a_participant_without_an_id_leaves_the_browser_to_one_with_an_id(app_state, new_participant):
    anonymous = new_participant()
    named = Participant(None, "/?participant=x", anonymous.http)
    assert named.join().status_code == 200
    assert count_ids(app_state) == (2, 1)


def test_an_id_joins_once_across_browsers(new_participant):
    new_participant("/?PROLIFIC_PID=first")
    other = Participant(new_participant.app, "/?PROLIFIC_PID=first")
    assert (other.join().status_code, other.join().json()) == (409, {"error": "already_joined"})


def test_ids_that_differ_only_behind_200_characters_are_two(new_participant):
    for end in "ab":
        new_participant(f"/?participant={'x' * 300}{end}")


def test_a_deleted_participant_may_join_again_in_the_same_browser(app_state, new_participant):
    person = new_participant("/?PROLIFIC_PID=back")
    person.answer_until("trial")
    app_state.sessions.withdraw(person.find_id(app_state))
    again = Participant(None, "/?PROLIFIC_PID=back", person.http)
    assert again.join().status_code == 200
    reply = again.answer({"number": 0, "kind": "instructions"}).json()
    assert (reply["state"], reply["status"]) == ("active", "saved")


def test_a_cookie_of_the_previous_version_keeps_its_session(app_state, new_participant):
    person = new_participant("/?PROLIFIC_PID=old")
    value = app_state.signer.unsign(person.http.cookies["study_session"], "session", 3600)
    session, digest, _ = value.split("|")
    person.http.cookies.clear()
    person.http.cookies.set("study_session", app_state.signer.sign(f"{session}|{digest}", "session"))
    assert person.session()["state"] == "active"
    assert person.http.get("/?PROLIFIC_PID=old").url.path == "/study"


@pytest.mark.parametrize(
    "value",
    ["{{%PROLIFIC_PID%}}", "%7B%7B%25PROLIFIC_PID%25%7D%7D", "${e://Field/PROLIFIC_PID}", "[%RespondentID%]", "$$uid$$",
     "[#UID#]", "#UID#", "<your id>", "{participant}", "PROLIFIC_PID", "participant", "undefined", "null", "None", "  ",
     "ASSIGNMENT_ID_NOT_AVAILABLE", "__id__"],
)  # fmt: skip
def test_a_placeholder_is_nobodys_id(app_state, new_participant, value):
    for _ in range(3):
        new_participant(f"/?PROLIFIC_PID={quote(value)}")
    assert count_ids(app_state) == (3, 0)


@pytest.mark.parametrize(
    "value", ["5f0c1a2b3c4d5e6f7a8b9c0d", "a@b.org", "a%40b.org", "R_3Mx/+=", "山田", "null-1", "123", "日" * 300]
)
def test_an_id_of_any_script_is_an_id(app_state, new_participant, value):
    new_participant(f"/?PROLIFIC_PID={quote(value)}")
    assert count_ids(app_state) == (1, 1)
    assert Participant(new_participant.app, f"/?PROLIFIC_PID={quote(value)}").join().status_code == 409


def test_a_filled_parameter_counts_beside_a_placeholder(app_state, new_participant):
    new_participant(f"/?PROLIFIC_PID={quote('{{%PROLIFIC_PID%}}')}&participant=x7")
    assert count_ids(app_state) == (1, 1)


class SafariClient:
    """Drops cookies that a redirect sets, as Safari does after a link on another site."""

    def __init__(self, http):
        self.http = http

    def get(self, url):
        for _ in range(5):
            before = list(self.http.cookies.jar)
            reply = self.http.get(url, follow_redirects=False)
            if not reply.is_redirect:
                return reply
            self.http.cookies.clear()
            for cookie in before:
                self.http.cookies.jar.set_cookie(cookie)
            url = reply.headers["location"]
        raise AssertionError("redirected in a circle")


def test_safari_keeps_the_id_though_it_drops_cookies_of_redirects(app_state, new_participant):
    person = Participant(new_participant.app, "/health")

    def open_link(link):
        page = SafariClient(person.http).get(link).text
        if "csrf-token" in page:
            person.csrf_token = re.search('name="csrf-token" content="([0-9a-f]+)"', page)[1]
        return page

    open_link("/?PROLIFIC_PID=one")
    assert person.join().status_code == 200
    assert count_ids(app_state) == (1, 1)
    assert 'id="screen"' in open_link("/?PROLIFIC_PID=one")
    open_link("/?PROLIFIC_PID=two")
    assert person.join().status_code == 200
    assert count_ids(app_state) == (2, 2)
    session = person.session()
    assert 'id="screen"' in open_link("/?PROLIFIC_PID=one")
    assert person.http.get("/study").url.path == "/study"
    assert 'id="screen"' in open_link("/?PROLIFIC_PID=two")
    assert person.session() == session


def test_no_redirect_sets_a_cookie(new_participant):
    http = Participant(new_participant.app, "/health").http
    for link in ("/", "/?PROLIFIC_PID=a", "/?PROLIFIC_PID=a", "/?PROLIFIC_PID=b", "/?participant=%7Bx%7D", "/study"):
        reply = http.get(link, follow_redirects=False)
        assert not (reply.is_redirect and "set-cookie" in reply.headers)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/health", 200), ("/?PROLIFIC_PID=x", 200), ("/admin", 200), ("/static/study.css", 200),
     ("/nothing", 404), ("/api/session", 401), ("/api/join", 405), ("/admin/responses.csv", 303)],
)  # fmt: skip
def test_head_is_answered_like_get_without_a_body(new_participant, path, status):
    reply = Participant(new_participant.app, "/health").http.head(path, follow_redirects=False)
    http = Participant(new_participant.app, "/health").http
    assert (reply.status_code, reply.content) == (status, b"")
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers.get("content-length") == http.get(path, follow_redirects=False).headers.get("content-length")
