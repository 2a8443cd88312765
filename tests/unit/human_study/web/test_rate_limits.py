"""Rate limits, in memory only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.human_study.web.participant import create_app
from synesthesia.human_study.web.security import RateLimiter
from tests.helpers.study_participants import PASSWORD, Participant

pytestmark = pytest.mark.slow  # a real server and database


@given(st.integers(1, 20), st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_requests_never_exceed_the_rate_plus_a_full_bucket(rate, gaps):
    limiter, now, n_allowed = RateLimiter(rate, 60), 0.0, 0
    for gap in gaps:
        now += gap
        n_allowed += limiter.try_acquire("x", now)
    assert n_allowed <= rate + now * rate / 60 + 1e-6


def test_keys_have_their_own_buckets_which_refill():
    limiter = RateLimiter(2, 60)
    assert [limiter.try_acquire("a", 0) for _ in range(3)] == [True, True, False]
    assert limiter.try_acquire("b", 0)
    assert limiter.try_acquire("a", 31) and not limiter.try_acquire("a", 31)


def test_full_buckets_are_dropped_and_no_address_is_stored_in_clear():
    limiter = RateLimiter(5, 60, max_keys=100)
    for number in range(1000):
        limiter.try_acquire(f"10.0.0.{number}", 0)
    assert len(limiter._buckets) <= 101
    limiter.try_acquire("late", 100)
    assert len(limiter._buckets) == 1
    assert not any(b"10.0" in key for key in limiter._buckets)


def test_a_participant_above_the_limit_is_told_to_wait(make_app_state):
    app = create_app(make_app_state(requests_per_minute=20))
    person = Participant(app)
    person.join()
    replies = [person.http.get("/api/session") for _ in range(40)]
    assert replies[-1].status_code == 429 and replies[-1].headers["retry-after"]
    assert person.post("/api/answer", {"number": 0, "idempotency_key": "a" * 32}).status_code == 429


def test_joining_is_limited_by_address(make_app_state):
    app = create_app(make_app_state(joins_per_hour=3))
    codes = [Participant(app).join().status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_password_attempts_are_limited(app_state):
    http = Participant(create_app(app_state)).http
    codes = [http.post("/admin/login", data={"password": f"guess {n}"}).status_code for n in range(7)]
    assert codes == [401] * 5 + [429] * 2
    assert http.post("/admin/login", data={"password": PASSWORD}).status_code == 429
