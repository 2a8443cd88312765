"""Participant sessions: joining, continuing, tabs, retries, timeouts; nothing is lost, nothing counts twice."""

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import func, select, update

from synesthesia import schemas
from synesthesia.human_study.db import connection as db_connection
from synesthesia.human_study.db import sessions
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.responses import Answer
from synesthesia.human_study.db.schema import PARTICIPANT, STEP, STUDY, TRIAL
from synesthesia.human_study.stimuli import tones
from synesthesia.human_study.web.participant import create_app
from synesthesia.questions.prompt import format_prompt
from tests.helpers.study_participants import Participant, RemoteParticipant

pytestmark = pytest.mark.slow  # a real server and database


def load_completed(app_state):
    with app_state.database.read() as connection:
        return load_completed_trials(connection)


def count_assigned(app_state):
    with app_state.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(TRIAL).where(TRIAL.c.is_assigned))


def set_idle_hours(app_state, hours):
    """Set the last activity of every participant to `hours` ago."""
    with app_state.database.write() as connection:
        connection.execute(update(PARTICIPANT).values(last_active_at=int(time.time() - 3600 * hours)))


def run_threads(threads, timeout):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)


def test_a_session_leads_from_consent_to_a_completion_code(app_state, new_participant):
    person, kinds = new_participant(), []
    session = person.session()
    while session["state"] == "active":
        step = session["step"]
        kinds.append(step["kind"])
        session = person.pass_sound_check(step) if kinds[-1] == "sound_check" else person.answer(step).json()
    assert kinds[:6] == ["instructions", "sound_check", "practice", "practice", "practice", "block_intro"]
    assert kinds[-1] == "comments"
    assert Counter(kinds[5:-1]) == {"block_intro": 3, "trial": 6, "attention_check": 1}
    assert session["state"] == "finished" and len(session["completion_code"]) == 8
    rows = load_completed(app_state)
    assert [r.position for r in rows] == list(range(6))
    assert {(r.choice, r.seconds) for r in rows} == {(3, 2.5)}
    assert len({app_state.questions[r.question_id].clip_id for r in rows}) == 6


def test_the_question_text_is_the_models_prompt(app_state, new_participant):
    step = new_participant().answer_until("trial")["step"]
    with app_state.database.read() as connection:
        row = connection.execute(select(STEP).where(STEP.c.number == step["number"])).one()
    path = app_state.stimuli_dir.parents[1] / "out/make_questions/questions.parquet"
    questions = schemas.read(path, schemas.QUESTION).to_pylist()
    options = next(q["options"] for q in questions if q["question_id"] == row.question_id)
    question = step["question"]
    assert "\n".join([question["head"], *question["options"], question["tail"]]) == format_prompt(options)


def test_practice_gives_feedback_and_trials_do_not(new_participant):
    person = new_participant()
    step = person.answer_until("practice")["step"]
    assert person.answer(step).json()["feedback"]["target"] in range(10)
    step = person.answer_until("trial")["step"]
    reply = person.answer(step).json()
    assert "feedback" not in reply and reply["status"] == "saved"


def test_a_session_continues_at_the_same_step_after_closing_the_page(new_participant):
    person = new_participant()
    session = person.answer_until("trial")
    assert person.http.get("/study").status_code == 200
    assert person.http.get("/", follow_redirects=False).headers["location"] == "/study"
    assert person.session() == session


def test_joining_twice_with_one_browser_is_one_participant(app_state, new_participant):
    person = new_participant()
    assert person.join().status_code == 200
    with app_state.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 1


def test_a_repeated_request_is_recognized_and_counts_once(app_state, new_participant):
    person = new_participant()
    step = person.answer_until("trial")["step"]
    first = person.answer(step, key="a" * 32).json()
    second = person.answer(step, key="a" * 32, choice=9).json()
    assert (first["status"], second["status"]) == ("saved", "duplicate")
    assert first["step"] == second["step"]
    assert [r.choice for r in load_completed(app_state)] == [3]


def test_of_two_tabs_the_first_answer_counts_and_the_second_gets_the_current_step(app_state, new_participant):
    person = new_participant()
    step = person.answer_until("trial")["step"]
    assert person.answer(step, choice=1).json()["status"] == "saved"
    second = person.answer(step, choice=2).json()
    assert second["status"] == "stale" and second["step"]["number"] > step["number"]
    assert [r.choice for r in load_completed(app_state)] == [1]


def test_concurrent_answers_to_one_step_count_once(make_app_state, database_url):
    app_state = make_app_state(database_url)
    person = Participant(create_app(app_state))
    person.join()
    step, statuses = person.answer_until("trial")["step"], []
    participant = person.find_id(app_state)
    answers = [Answer(step["number"], f"{n:08x}", choice=n, seconds=1.0) for n in range(8)]

    def submit(answer):
        statuses.append(app_state.sessions.submit_answer(participant, answer)[0])

    run_threads([threading.Thread(target=submit, args=(answer,)) for answer in answers], 30)
    assert Counter(statuses) == {"saved": 1, "stale": 7}
    assert len(load_completed(app_state)) == 1


def test_an_answer_sent_again_while_its_first_sending_is_saved_is_a_duplicate(
    make_app_state, postgres_url, monkeypatch
):
    app_state = make_app_state(postgres_url)
    person = Participant(create_app(app_state))
    person.join()
    answer = Answer(person.answer_until("trial")["step"]["number"], "a" * 32, choice=3, seconds=1.0)
    participant, load_state, events = person.find_id(app_state), sessions.Sessions._load_state, []

    def submit():
        events.append(app_state.sessions.submit_answer(participant, answer)[0])

    def load_state_after_first_commit(connection, participant_id):
        """Between two statements of the second sending, the first sending is committed."""
        if not events:
            events.append("started")
            run_threads([threading.Thread(target=submit)], 30)
        return load_state(connection, participant_id)

    monkeypatch.setattr(sessions.Sessions, "_load_state", staticmethod(load_state_after_first_commit))
    assert app_state.sessions.submit_answer(participant, answer)[0] == "duplicate"
    assert events == ["started", "saved"]
    assert [r.choice for r in load_completed(app_state)] == [3]


def test_participants_who_join_at_once_share_no_trial_and_the_last_find_the_study_full(make_app_state, database_url):
    app_state = make_app_state(database_url)  # 12 labels x 4 clips x 3 conditions, 6 each: 24 slots
    outcomes = []

    def join(number):
        try:
            outcomes.append(app_state.sessions.join(bytes([number]) * 32, None, "c"))
        except sessions.JoinRefused as refusal:
            outcomes.append(refusal.reason)

    run_threads([threading.Thread(target=join, args=(n,)) for n in range(30)], 60)
    assert Counter(o if o == "full" else "joined" for o in outcomes) == {"joined": 24, "full": 6}
    with app_state.database.read() as connection:
        holders = Counter(connection.scalars(select(STEP.c.trial).where(STEP.c.trial.is_not(None))))
        assert len(holders) == 144 and set(holders.values()) == {1}
        assert connection.scalar(select(func.count()).select_from(TRIAL).where(~TRIAL.c.is_assigned)) == 0


def test_trials_of_dropouts_go_to_others_until_every_trial_is_answered_once(make_app_state, database_url):
    app_state = make_app_state(database_url, practice_trials=0, attention_checks=0, labels_per_group=2)
    app = create_app(app_state)  # 6 labels: 12 slots
    for number in range(12):
        person = Participant(app)
        assert person.join().status_code == 200
        session = person.answer_until("trial")
        for _ in range(number % 5):  # most drop out after some trials
            if session["state"] == "active" and session["step"]["kind"] == "trial":
                session = person.answer(session["step"]).json()
                session = person.answer_until("trial") if session["state"] == "active" else session
        if number % 6 == 0:
            person.answer_until()
    assert Participant(app).join().json() == {"error": "full"}
    set_idle_hours(app_state, 4)
    n_joined = 0
    while (reply := (person := Participant(app)).join()).status_code == 200:
        assert person.answer_until()["state"] == "finished"
        n_joined += 1
    assert reply.json() == {"error": "complete"}
    assert n_joined >= 5
    rows = load_completed(app_state)
    assert len(rows) == 72 and len({r.trial for r in rows}) == 72
    clips = Counter((r.participant, app_state.questions[r.question_id].clip_id) for r in rows)
    assert set(clips.values()) == {1}
    assert max(Counter(r.participant for r in rows).values()) <= 6


def test_a_timed_out_participant_is_told_and_keeps_the_answers(app_state, new_participant):
    person = new_participant()
    person.answer(person.answer_until("trial")["step"])
    set_idle_hours(app_state, 4)
    assert app_state.sessions.close_timed_out() == 1
    assert person.session() == {"state": "timed_out"}
    assert len(load_completed(app_state)) == 1
    assert count_assigned(app_state) == 1


def test_a_break_shorter_than_the_timeout_closes_nothing(app_state, new_participant):
    person = new_participant()
    session = person.answer_until("block_intro")
    set_idle_hours(app_state, 2.9)
    assert app_state.sessions.close_timed_out() == 0
    assert person.session() == session


def test_withdrawal_deletes_everything_and_releases_the_trials(app_state, new_participant):
    person = new_participant()
    person.answer_until()
    assert person.post("/api/withdraw", {}).json() == {"withdrawn": True}
    with app_state.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(PARTICIPANT)) == 0
        assert connection.scalar(select(func.count()).select_from(STEP)) == 0
        assert connection.scalar(select(STUDY.c.n_withdrawn)) == 1
    assert count_assigned(app_state) == 0
    assert person.http.get("/api/session").status_code == 401


def test_an_unplayable_clip_is_released_and_counts_as_no_answer(app_state, new_participant):
    person = new_participant()
    step = person.answer_until("trial")["step"]
    reply = person.answer(step, is_unplayable=True, load_failures=5, choice=None).json()
    assert reply["status"] == "saved" and reply["step"]["number"] > step["number"]
    assert load_completed(app_state) == []
    assert count_assigned(app_state) == 5


def test_a_paused_study_refuses_joins_and_a_closed_one_also_answers(app_state, new_participant):
    person = new_participant()
    step = person.answer_until("trial")["step"]
    app_state.sessions.set_state("paused")
    assert Participant(new_participant.app).join().json() == {"error": "paused"}
    assert person.answer(step).json()["status"] == "saved"
    app_state.sessions.set_state("closed")
    assert person.session() == {"state": "closed"}
    assert Participant(new_participant.app).join().json() == {"error": "closed"}
    app_state.sessions.set_state("open")
    assert person.session()["state"] == "active"


def test_a_second_failed_headphone_check_ends_the_session_only_if_required(make_app_state):
    for mode, state in (("require", "screened_out"), ("ask", "active")):
        app_state = make_app_state(headphone_check=mode)
        person = Participant(create_app(app_state))
        person.join()
        step = person.answer_until("headphone_check")["step"]
        assert len(step["stimuli"]) == 6
        wrong_picks = [(t + 1) % 3 for t in tones.TARGET_INTERVALS]
        first = person.answer(step, picks=wrong_picks).json()
        assert (first["status"], first["step"]["is_retry"]) == ("retry", True)
        assert person.answer(step, picks=wrong_picks).json()["state"] == state
        assert count_assigned(app_state) == (0 if state == "screened_out" else 6)


@pytest.mark.slow
def test_a_killed_server_keeps_every_confirmed_answer(start_server):
    server = start_server(workers=2)
    database = db_connection.Database(f"sqlite:///{server.folder}/humans/human_study.sqlite")
    with RemoteParticipant(server.base_url) as person:
        person.join()
        step = person.answer_until("trial")["step"]
        assert person.answer(step).json()["status"] == "saved"
        server.kill()
        server.start()
        assert person.session()["step"]["number"] > step["number"]
        assert person.answer_until()["state"] == "finished"
    with database.read() as connection:
        assert len(load_completed_trials(connection)) == 6
    database.close()


@pytest.mark.parametrize("query", ["", "?PROLIFIC_PID=5f0c1&x=1", "?participant=somebody"])
def test_an_external_id_in_the_link_is_hashed_and_removed_from_the_address(app_state, new_participant, query):
    person = Participant(new_participant.app, f"/{query}")
    assert person.http.get(f"/{query}").url.query == b""
    assert person.join().status_code == 200
    with app_state.database.read() as connection:
        external_id_hash = connection.scalar(select(PARTICIPANT.c.external_id_hash))
    assert (external_id_hash is None) == (query == "")


def test_an_external_id_joins_once(new_participant):
    new_participant("/?PROLIFIC_PID=abc")
    other = Participant(new_participant.app, "/?PROLIFIC_PID=abc")
    reply = other.join()
    assert (reply.status_code, reply.json()) == (409, {"error": "already_joined"})
