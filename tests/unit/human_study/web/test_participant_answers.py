"""Answers are validated against the plan: invalid ones are refused, and nothing is written."""

import pytest
from sqlalchemy import func, select

from synesthesia.human_study.db.schema import STEP
from tests.helpers.study_participants import Participant

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def person(new_participant):
    return new_participant()


def count_answered(app_state):
    with app_state.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(STEP).where(STEP.c.answered_at.is_not(None)))


@pytest.mark.parametrize(
    "invalid",
    [
        {"choice": 10},
        {"choice": -1},
        {"choice": None},
        {"choice": "3"},
        {"choice": 3.5},
        {"choice": True},
        {"seconds": -1},
        {"seconds": "1"},
        {"seconds": 1e9},
        {"replays": 3},
        {"replays": -1},
        {"focus_lost": -1},
        {"load_failures": 10**9},
        {"number": 999},
        {"number": -1},
        {"idempotency_key": "short"},
        {"idempotency_key": "x" * 32},
        {"idempotency_key": "a" * 5000},
        {"participant": "p0000000000000000"},
        {"condition": "audio"},
    ],
    ids=lambda invalid: str(invalid)[:30],
)
def test_an_invalid_answer_is_refused_and_the_step_stays(app_state, person, invalid):
    session = person.answer_until("trial")
    before = count_answered(app_state)
    reply = person.answer(session["step"], **invalid)
    assert reply.status_code == 422
    assert count_answered(app_state) == before and person.session() == session


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff\xfe", b'{"number": NaN}', b""])
def test_a_body_that_is_not_an_answer_is_refused(person, body):
    headers = {"X-CSRF-Token": person.csrf_token, "Content-Type": "application/json"}
    assert person.http.post("/api/answer", content=body, headers=headers).status_code == 422


def test_steps_cannot_be_skipped(app_state, person):
    step = person.session()["step"]
    before = count_answered(app_state)
    reply = person.answer(step | {"number": step["number"] + 9, "kind": "trial"}).json()
    assert reply["status"] == "stale" and reply["step"] == step
    assert count_answered(app_state) == before


def test_the_page_receives_neither_target_label_nor_clip_id(person):
    for _ in range(200):
        session = person.session()
        if session["state"] != "active":
            break
        step = session["step"]
        assert set(step) <= {"number", "kind", "condition", "block", "n_blocks", "n_block_trials", "n_trials",
                             "position", "position_in_block", "question", "max_replays", "stimulus",
                             "required_option", "stimuli", "is_retry"}  # fmt: skip
        assert "analysis" not in str(step) and "finetune" not in str(step)
        person.pass_sound_check(step) if step["kind"] == "sound_check" else person.answer(step)
    assert session["state"] == "finished"


def test_one_participant_cannot_answer_for_another(new_participant):
    first, second = new_participant(), new_participant()
    step = first.answer_until("trial")["step"]
    session = second.answer_until("trial")
    first.answer(step)
    assert second.session()["step"] == session["step"]
    intruder = Participant(new_participant.app)
    assert intruder.answer(step).status_code == 409  # has not joined


def test_a_body_longer_than_any_answer_is_refused(person):
    reply = person.post("/api/answer", {"comment": "x" * 20_000})
    assert reply.status_code == 413
