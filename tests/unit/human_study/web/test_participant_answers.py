"""Answers are held against the plan: what it does not allow is refused, and nothing is written."""

import pytest
from sqlalchemy import func, select

from synesthesia.human_study.db.schema import STEP
from tests.helpers.study_participants import Person

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def person(joined):
    return joined()


def answered(site):
    with site.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(STEP).where(STEP.c.answered_at.is_not(None)))


@pytest.mark.parametrize(
    "wrong",
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
        {"key": "short"},
        {"key": "x" * 32},
        {"key": "a" * 5000},
        {"participant": "p0000000000000000"},
        {"condition": "audio"},
    ],
    ids=lambda wrong: str(wrong)[:30],
)
def test_an_answer_that_the_step_does_not_allow_is_refused_and_the_step_stays(site, person, wrong):
    here = person.go("trial")
    before = answered(site)
    reply = person.answer(here["step"], **wrong)
    assert reply.status_code == 422
    assert answered(site) == before and person.now() == here


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff\xfe", b'{"number": NaN}', b""])
def test_a_body_that_is_no_answer_is_refused(person, body):
    headers = {"X-Study-Token": person.token, "Content-Type": "application/json"}
    assert person.http.post("/api/answer", content=body, headers=headers).status_code == 422


def test_steps_cannot_be_jumped(site, person):
    step = person.now()["step"]
    before = answered(site)
    reply = person.answer(step | {"number": step["number"] + 9, "kind": "trial"}).json()
    assert reply["status"] == "stale" and reply["step"] == step
    assert answered(site) == before


def test_what_the_page_gets_tells_neither_the_answer_nor_the_label_nor_the_clip(site, person):
    for _ in range(200):
        now = person.now()
        if now["state"] != "active":
            break
        step = now["step"]
        assert set(step) <= {"number", "kind", "condition", "block", "blocks", "in_block", "total", "place",
                             "place_in_block", "question", "replays", "stimulus", "instructed", "stimuli",
                             "again"}  # fmt: skip
        assert "analysis" not in str(step) and "finetune" not in str(step)
        person.pass_sound(step) if step["kind"] == "sound" else person.answer(step)
    assert now["state"] == "finished"


def test_one_participant_cannot_answer_for_another(site, joined):
    one, other = joined(), joined()
    step = one.go("trial")["step"]
    there = other.go("trial")
    one.answer(step)
    assert other.now()["step"] == there["step"]
    thief = Person(joined.app)
    assert thief.answer(step).status_code == 409  # has not joined


def test_a_body_longer_than_any_answer_is_refused(person):
    reply = person.post("/api/answer", {"comment": "x" * 20_000})
    assert reply.status_code == 413
