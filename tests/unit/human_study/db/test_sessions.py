"""Participants: joining, going on where they were, tabs, retries, drop-outs; nothing lost, nothing counted twice."""

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import func, select, update

from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db import sessions
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.responses import Answer
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.stimuli import tones
from synesthesia.human_study.web import participant as web
from tests.helpers.study_participants import Person, RealPerson

pytestmark = pytest.mark.slow  # a real server and database


def finished(site):
    with site.database.read() as connection:
        return load_completed_trials(connection)


def age(site, hours):
    """Let everybody's last answer lie `hours` back."""
    with site.database.write() as connection:
        connection.execute(update(PARTICIPANT).values(seen_at=int(time.time() - 3600 * hours)))


def test_a_session_leads_from_consent_to_a_completion_code(site, joined):
    person, kinds, now = joined(), [], None
    now = person.now()
    while now["state"] == "active":
        kinds.append(now["step"]["kind"])
        now = person.pass_sound(now["step"]) if kinds[-1] == "sound" else person.answer(now["step"]).json()
    assert kinds[:6] == ["expect", "sound", "practice", "practice", "practice", "block"]
    assert kinds[-1] == "comments"
    assert Counter(kinds[5:-1]) == {"block": 3, "trial": 6, "check": 1}
    assert now["state"] == "finished" and len(now["code"]) == 8
    rows = finished(site)
    assert [r.place for r in rows] == list(range(6))
    assert {(r.choice, r.seconds) for r in rows} == {(3, 2.5)}
    assert len({site.questions[r.question_id].clip_id for r in rows}) == 6


def test_text_and_options_are_the_models_own(site, joined):
    from synesthesia import schemas
    from synesthesia.questions import sampling

    step = joined().go("trial")["step"]
    with site.database.read() as connection:
        row = connection.execute(select(STEP).where(STEP.c.number == step["number"])).one()
    asked = schemas.read(site.stimuli.parents[1] / "out/ask/questions.parquet", schemas.QUESTION).to_pylist()
    options = next(q["options"] for q in asked if q["question_id"] == row.question_id)
    shown = step["question"]
    assert "\n".join([shown["head"], *shown["options"], shown["tail"]]) == sampling.format_prompt(options)


def test_practice_tells_what_was_right_and_trials_do_not(joined):
    person = joined()
    step = person.go("practice")["step"]
    assert person.answer(step).json()["feedback"]["answer"] in range(10)
    step = person.go("trial")["step"]
    reply = person.answer(step).json()
    assert "feedback" not in reply and reply["status"] == "saved"


def test_closing_the_page_and_coming_back_goes_on_at_the_same_step(joined):
    person = joined()
    here = person.go("trial")
    assert person.http.get("/study").status_code == 200
    assert person.http.get("/", follow_redirects=False).headers["location"] == "/study"
    assert person.now() == here


def test_joining_twice_with_one_browser_is_one_participant(site, joined):
    person = joined()
    assert person.join().status_code == 200
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 1


def test_the_same_request_again_is_recognised_and_counted_once(site, joined):
    person = joined()
    step = person.go("trial")["step"]
    first = person.answer(step, key="a" * 32).json()
    again = person.answer(step, key="a" * 32, choice=9).json()
    assert (first["status"], again["status"]) == ("saved", "repeated")
    assert first["step"] == again["step"]
    assert [r.choice for r in finished(site)] == [3]


def test_of_two_tabs_the_first_answer_counts_and_the_second_is_shown_where_it_is(site, joined):
    person = joined()
    step = person.go("trial")["step"]
    assert person.answer(step, choice=1).json()["status"] == "saved"
    late = person.answer(step, choice=2).json()
    assert late["status"] == "stale" and late["step"]["number"] > step["number"]
    assert [r.choice for r in finished(site)] == [1]


def test_a_double_click_from_many_threads_is_one_answer(make_site, either_url):
    site = make_site(either_url)
    person = Person(web.create_app(site))
    person.join()
    step, replies = person.go("trial")["step"], []
    participant = person.id(site)
    answers = [Answer(step["number"], f"{n:08x}", choice=n, seconds=1.0) for n in range(8)]
    threads = [
        threading.Thread(target=lambda a=a: replies.append(site.sessions.answer(participant, a)[0])) for a in answers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(replies) == {"saved": 1, "stale": 7}
    assert len(finished(site)) == 1


def test_an_answer_sent_again_while_its_first_sending_is_being_saved_is_a_repetition(
    make_site, postgresql_url, monkeypatch
):
    site = make_site(postgresql_url)
    person = Person(web.create_app(site))
    person.join()
    answer = Answer(person.go("trial")["step"]["number"], "a" * 32, choice=3, seconds=1.0)
    participant, current, first = person.id(site), sessions.Sessions._load_state, []

    def between(connection, me):  # of two statements of the second sending, the first one is committed
        if not first:
            first.append("begun")
            thread = threading.Thread(target=lambda: first.append(site.sessions.answer(participant, answer)[0]))
            thread.start()
            thread.join(30)
        return current(connection, me)

    monkeypatch.setattr(sessions.Sessions, "_current", staticmethod(between))
    assert site.sessions.answer(participant, answer)[0] == "repeated"
    assert first == ["begun", "saved"]
    assert [r.choice for r in finished(site)] == [3]


def test_a_crowd_that_joins_at_once_shares_no_trial_and_the_late_find_it_full(make_site, either_url):
    site = make_site(either_url)  # 12 labels x 4 clips x 3 conditions, 6 each: 24 seats
    outcomes = []

    def join(number):
        try:
            outcomes.append(site.sessions.join(bytes([number]) * 32, None, "c"))
        except sessions.JoinRefused as refused:
            outcomes.append(refused.reason)

    threads = [threading.Thread(target=join, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(o if o == "full" else "in" for o in outcomes) == {"in": 24, "full": 6}
    with site.database.read() as connection:
        held = Counter(connection.scalars(select(STEP.c.trial).where(STEP.c.trial.is_not(None))))
        assert len(held) == 144 and set(held.values()) == {1}
        assert connection.scalar(select(func.count()).select_from(TRIAL).where(~TRIAL.c.taken)) == 0


def test_what_drop_outs_leave_goes_to_others_until_all_is_judged_once(make_site, either_url):
    site = make_site(either_url, practice=0, attention_checks=0, labels_a_regime=2)  # 6 labels: 12 seats
    app = web.create_app(site)
    for number in range(12):
        person = Person(app)
        assert person.join().status_code == 200
        now = person.go("trial")
        for _ in range(number % 5):  # most leave after some trials
            if now["state"] == "active" and now["step"]["kind"] == "trial":
                now = person.answer(now["step"]).json()
                now = person.go("trial") if now["state"] == "active" else now
        if number % 6 == 0:
            person.go()
    assert Person(app).join().json() == {"error": "full"}
    age(site, 4)
    newcomers = 0
    while (reply := (person := Person(app)).join()).status_code == 200:
        assert person.go()["state"] == "finished"
        newcomers += 1
    assert reply.json() == {"error": "complete"}
    assert newcomers >= 5
    rows = finished(site)
    assert len(rows) == 72 and len({r.trial for r in rows}) == 72
    met = Counter((r.participant, site.questions[r.question_id].clip_id) for r in rows)
    assert set(met.values()) == {1}
    assert max(Counter(r.participant for r in rows).values()) <= 6


def test_a_late_participant_learns_it_and_keeps_what_was_answered(site, joined):
    person = joined()
    person.answer(person.go("trial")["step"])
    age(site, 4)
    assert site.sessions.close_late() == 1
    assert person.now() == {"state": "late"}
    assert len(finished(site)) == 1
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken)) == 1


def test_a_pause_shorter_than_the_limit_closes_nothing(site, joined):
    person = joined()
    here = person.go("block")
    age(site, 2.9)
    assert site.sessions.close_late() == 0
    assert person.now() == here


def test_withdrawing_deletes_everything_and_frees_the_trials(site, joined):
    person = joined()
    person.go()
    assert person.post("/api/withdraw", {}).json() == {"withdrawn": True}
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 0
        assert connection.scalar(select(func.count()).select_from(STEP)) == 0
        assert connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken)) == 0
        assert connection.scalar(select(STUDY.c.withdrawn)) == 1
    assert person.http.get("/api/now").status_code == 401


def test_a_clip_that_cannot_be_played_goes_to_somebody_else_and_counts_for_nothing(site, joined):
    person = joined()
    step = person.go("trial")["step"]
    reply = person.answer(step, unplayable=True, load_failures=5, choice=None).json()
    assert reply["status"] == "saved" and reply["step"]["number"] > step["number"]
    assert finished(site) == []
    with site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken)) == 5


def test_paused_lets_nobody_new_in_and_closed_takes_no_more_answers(site, joined):
    person = joined()
    step = person.go("trial")["step"]
    site.sessions.set_state("paused")
    assert Person(joined.app).join().json() == {"error": "paused"}
    assert person.answer(step).json()["status"] == "saved"
    site.sessions.set_state("closed")
    assert person.now() == {"state": "closed"}
    assert Person(joined.app).join().json() == {"error": "closed"}
    site.sessions.set_state("open")
    assert person.now()["state"] == "active"


def test_the_headphone_test_is_tried_twice_and_then_ends_or_goes_on_as_the_parameters_say(make_site):
    for mode, ends in (("require", "screened"), ("ask", "active")):
        site = make_site(headphones=mode)
        person = Person(web.create_app(site))
        person.join()
        step = person.go("headphones")["step"]
        assert len(step["stimuli"]) == 6
        wrong = [(t + 1) % 3 for t in tones.TARGET_INTERVALS]
        first = person.answer(step, picks=wrong).json()
        assert (first["status"], first["step"]["again"]) == ("again", True)
        assert person.answer(step, picks=wrong).json()["state"] == ends
        taken = 0 if ends == "screened" else 6
        with site.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.taken)) == taken


@pytest.mark.slow
def test_a_killed_server_goes_on_with_every_answer_that_it_confirmed(served):
    server = served(workers=2)
    opened = database.Database(f"sqlite:///{server.folder}/humans/study.sqlite")
    with RealPerson(server.base) as person:
        person.join()
        step = person.go("trial")["step"]
        assert person.answer(step).json()["status"] == "saved"
        server.kill()
        server.start()
        assert person.now()["step"]["number"] > step["number"]
        assert person.go()["state"] == "finished"
    with opened.read() as connection:
        assert len(load_completed_trials(connection)) == 6
    opened.close()


@pytest.mark.parametrize("place", ["", "?PROLIFIC_PID=5f0c1&x=1", "?participant=somebody"])
def test_the_link_may_name_a_participant_elsewhere_and_the_page_forgets_the_name(site, joined, place):
    person = Person(joined.app, f"/{place}")
    assert person.http.get(f"/{place}").url.query == b""
    assert person.join().status_code == 200
    with site.database.read() as connection:
        external = connection.scalar(select(PARTICIPANT.c.external))
    assert (external is None) == (place == "")


def test_an_external_id_joins_once(joined):
    joined("/?PROLIFIC_PID=abc")
    other = Person(joined.app, "/?PROLIFIC_PID=abc")
    reply = other.join()
    assert (reply.status_code, reply.json()) == (409, {"error": "elsewhere"})
