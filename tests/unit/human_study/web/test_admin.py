"""The researcher's page: passwords worth the name, no way in without, and what it shows and does."""

import csv
import io
import re

import pytest
from sqlalchemy import func, select

from synesthesia.human_study.db.schema import PARTICIPANT
from synesthesia.human_study.web import participant as web
from synesthesia.human_study.web import security
from tests.helpers.study_participants import PASSWORD, Person

pytestmark = pytest.mark.slow  # a real server and database


@pytest.mark.parametrize("password", ["", "short", "password1234", "Synesthesia2026", "admin-admin-admin",
                                      "changeme-123456", "aaaaaaaaaaaaaaaa", "123456789012345"])  # fmt: skip
def test_short_and_well_known_passwords_are_refused(password):
    with pytest.raises(security.SecurityError, match="SYNESTHESIA_ADMIN_PASSWORD"):
        security.check_password(password)


def test_a_made_password_is_long_random_and_good():
    made = {security.generate_password() for _ in range(50)}
    assert len(made) == 50 and all(len(security.check_password(p)) >= 22 for p in made)


@pytest.fixture
def http(site):
    return Person(web.create_app(site)).http


@pytest.fixture
def researcher(http):
    assert http.post("/admin/login", data={"password": PASSWORD}).status_code == 200
    return http


def token(http):
    return re.search(r'name="token" value="(\w+)"', http.get("/admin").text)[1]


def test_nothing_is_shown_or_done_without_the_password(site, http):
    assert "Sign in" in http.get("/admin").text
    assert http.get("/admin/judgements.csv", follow_redirects=False).status_code == 303
    for path in ("/admin/state", "/admin/delete", "/admin/logout"):
        assert http.post(path, data={"do": "close"}, follow_redirects=False).headers["location"] == "/admin"
    with site.database.read() as connection:
        from synesthesia.human_study.db.schema import STUDY

        assert connection.scalar(select(STUDY.c.state)) == "open"


def test_forms_need_their_token_and_origin(researcher):
    assert researcher.post("/admin/state", data={"do": "close"}).status_code == 403
    assert researcher.post("/admin/state", data={"do": "close", "token": "0" * 64}).status_code == 403
    good = {"do": "close", "token": token(researcher)}
    assert researcher.post("/admin/state", data=good, headers={"Origin": "https://evil.example"}).status_code == 403
    assert "The study is open" in researcher.get("/admin").text


def test_pausing_closing_and_opening_are_shown(researcher):
    for do, said in (("pause", "paused"), ("close", "closed"), ("open", "open")):
        page = researcher.post("/admin/state", data={"do": do, "token": token(researcher)})
        assert f"The study is {said}" in page.text
    assert researcher.post("/admin/state", data={"do": "burn", "token": token(researcher)}).status_code == 422


def test_the_cookie_stays_on_the_page_of_the_site_and_a_new_password_ends_it(site, researcher):
    value = researcher.cookies["study_admin"]
    login = Person(web.create_app(site)).http.post("/admin/login", data={"password": PASSWORD}, follow_redirects=False)
    assert all(part in login.headers["set-cookie"] for part in ("HttpOnly", "SameSite=strict", "Path=/admin"))
    site.password = "another-long-one-18"
    changed = Person(web.create_app(site)).http
    changed.cookies.set("study_admin", value)
    assert "Sign in" in changed.get("/admin").text


def test_figures_are_those_of_the_answers(site, joined, researcher):
    from synesthesia import stats
    from synesthesia.human_study.web import progress

    people = [joined() for _ in range(4)]
    for person in people[:2]:
        person.go()
    for _ in range(3):
        people[2].answer(people[2].go("trial")["step"])
    site.sessions.withdraw(people[3].id(site))
    found = progress.load_progress(site)
    assert (found.n_completed, found.n_trials, found.n_withdrawn, found.n_in_progress) == (15, 144, 1, 3)
    assert found.state_counts == {"finished": 2, "active": 1}
    truth = {q.question_id: q.answer for q in site.questions.values()}
    with site.database.read() as connection:
        from synesthesia.human_study.db.completed import load_completed_trials

        rows = load_completed_trials(connection)
    for condition, answers, interval, seconds in found.condition_summaries:
        mine = [r for r in rows if r.condition == condition]
        assert (answers, seconds) == (len(mine), 2.5)
        assert interval == stats.wilson(sum(truth[r.question_id] == 3 for r in mine), len(mine))
    assert "same letter" not in found.participants[0].inattention_reasons
    assert "15 <small>of 144</small>" in researcher.get("/admin").text


def test_a_participant_is_deleted_on_request(site, joined, researcher):
    joined().go()
    with site.database.read() as connection:
        participant = connection.scalar(select(PARTICIPANT.c.id))
    assert re.fullmatch("p[0-9a-f]{16}", participant)
    gone = researcher.post("/admin/delete", data={"participant": participant, "token": token(researcher)})
    assert "1 withdrawn and deleted" in gone.text
    again = researcher.post("/admin/delete", data={"participant": participant, "token": token(researcher)})
    assert again.status_code == 404
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 0


def test_the_download_is_the_export(site, joined, researcher):
    joined().go()
    reply = researcher.get("/admin/judgements.csv")
    assert 'filename="judgements.csv"' in reply.headers["content-disposition"]
    assert len(list(csv.DictReader(io.StringIO(reply.text)))) == 6
