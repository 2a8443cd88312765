"""The researcher's page: passwords, access control, figures, and actions."""

import csv
import io
import re

import pytest
from sqlalchemy import func, select

from synesthesia import stats
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.schema import PARTICIPANT, STUDY
from synesthesia.human_study.web import security
from synesthesia.human_study.web.participant import create_app
from tests.helpers.study_participants import PASSWORD, Participant

pytestmark = pytest.mark.slow  # a real server and database


@pytest.mark.parametrize("password", ["", "short", "password1234", "Synesthesia2026", "admin-admin-admin",
                                      "changeme-123456", "aaaaaaaaaaaaaaaa", "123456789012345"])  # fmt: skip
def test_short_and_common_passwords_are_refused(password):
    with pytest.raises(security.SecurityError, match="SYNESTHESIA_ADMIN_PASSWORD"):
        security.check_password(password)


def test_generated_passwords_are_long_random_and_accepted():
    passwords = {security.generate_password() for _ in range(50)}
    assert len(passwords) == 50 and all(len(security.check_password(p)) >= 22 for p in passwords)


@pytest.fixture
def http(app_state):
    return Participant(create_app(app_state)).http


@pytest.fixture
def researcher(http):
    assert http.post("/admin/login", data={"password": PASSWORD}).status_code == 200
    return http


def read_csrf_token(http):
    return re.search(r'name="csrf_token" value="(\w+)"', http.get("/admin").text)[1]


def test_without_the_password_nothing_is_shown_or_done(app_state, http):
    assert "Sign in" in http.get("/admin").text
    assert http.get("/admin/responses.csv", follow_redirects=False).status_code == 303
    for path in ("/admin/state", "/admin/delete", "/admin/logout"):
        assert http.post(path, data={"action": "close"}, follow_redirects=False).headers["location"] == "/admin"
    with app_state.database.read() as connection:
        assert connection.scalar(select(STUDY.c.state)) == "open"


def test_forms_need_their_csrf_token_and_origin(researcher):
    assert researcher.post("/admin/state", data={"action": "close"}).status_code == 403
    assert researcher.post("/admin/state", data={"action": "close", "csrf_token": "0" * 64}).status_code == 403
    form = {"action": "close", "csrf_token": read_csrf_token(researcher)}
    assert researcher.post("/admin/state", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
    assert "The study is open" in researcher.get("/admin").text


def test_pausing_closing_and_opening_are_shown(researcher):
    for action, state in (("pause", "paused"), ("close", "closed"), ("open", "open")):
        form = {"action": action, "csrf_token": read_csrf_token(researcher)}
        page = researcher.post("/admin/state", data=form)
        assert f"The study is {state}" in page.text
    form = {"action": "burn", "csrf_token": read_csrf_token(researcher)}
    assert researcher.post("/admin/state", data=form).status_code == 422


def test_the_cookie_is_restricted_and_a_new_password_ends_the_session(app_state, researcher):
    cookie = researcher.cookies["study_admin"]
    http = Participant(create_app(app_state)).http
    login = http.post("/admin/login", data={"password": PASSWORD}, follow_redirects=False)
    assert all(part in login.headers["set-cookie"] for part in ("HttpOnly", "SameSite=strict", "Path=/admin"))
    app_state.password = "another-long-one-18"
    changed = Participant(create_app(app_state)).http
    changed.cookies.set("study_admin", cookie)
    assert "Sign in" in changed.get("/admin").text


def test_figures_match_the_answers(app_state, new_participant, researcher):
    from synesthesia.human_study.web import progress

    people = [new_participant() for _ in range(4)]
    for person in people[:2]:
        person.answer_until()
    for _ in range(3):
        people[2].answer(people[2].answer_until("trial")["step"])
    app_state.sessions.withdraw(people[3].find_id(app_state))
    figures = progress.load_progress(app_state)
    counts = (figures.n_completed, figures.n_trials, figures.n_withdrawn, figures.n_in_progress)
    assert counts == (15, 144, 1, 3)
    assert figures.state_counts == {"finished": 2, "active": 1}
    targets = {q.question_id: q.target for q in app_state.questions.values()}
    with app_state.database.read() as connection:
        rows = load_completed_trials(connection)
    for condition, n_responses, interval, seconds in figures.condition_summaries:
        condition_rows = [r for r in rows if r.condition == condition]
        n_correct = sum(targets[r.question_id] == 3 for r in condition_rows)
        assert (n_responses, seconds) == (len(condition_rows), 2.5)
        assert interval == stats.wilson(n_correct, len(condition_rows))
    assert "same letter" not in figures.participants[0].inattention_reasons
    assert "15 <small>of 144</small>" in researcher.get("/admin").text


def test_a_participant_is_deleted_on_request(app_state, new_participant, researcher):
    new_participant().answer_until()
    with app_state.database.read() as connection:
        participant = connection.scalar(select(PARTICIPANT.c.id))
    assert re.fullmatch("p[0-9a-f]{16}", participant)
    form = {"participant": participant, "csrf_token": read_csrf_token(researcher)}
    assert "1 withdrawn and deleted" in researcher.post("/admin/delete", data=form).text
    form = {"participant": participant, "csrf_token": read_csrf_token(researcher)}
    assert researcher.post("/admin/delete", data=form).status_code == 404
    with app_state.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 0


def test_the_download_is_the_export(new_participant, researcher):
    new_participant().answer_until()
    reply = researcher.get("/admin/responses.csv")
    assert 'filename="responses.csv"' in reply.headers["content-disposition"]
    assert len(list(csv.DictReader(io.StringIO(reply.text)))) == 6
