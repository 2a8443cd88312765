"""Rate limits, in memory alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.human_study.web import participant
from synesthesia.human_study.web.security import RateLimiter
from tests.helpers.study_participants import PASSWORD, Person

pytestmark = pytest.mark.slow  # a real server and database


@given(st.integers(1, 20), st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_no_more_than_the_rate_and_what_was_saved_up_gets_through(rate, gaps):
    limiter, now, allowed = RateLimiter(rate, 60), 0.0, 0
    for gap in gaps:
        now += gap
        allowed += limiter.try_acquire("x", now)
    assert allowed <= rate + now * rate / 60 + 1e-6


def test_keys_do_not_share_a_bucket_and_a_bucket_fills_again():
    limiter = RateLimiter(2, 60)
    assert [limiter.try_acquire("a", 0), limiter.try_acquire("a", 0), limiter.try_acquire("a", 0)] == [
        True,
        True,
        False,
    ]
    assert limiter.try_acquire("b", 0)
    assert limiter.try_acquire("a", 31) and not limiter.try_acquire("a", 31)


def test_full_buckets_are_forgotten_and_no_address_is_kept_in_clear():
    limiter = RateLimiter(5, 60, max_keys=100)
    for number in range(1000):
        limiter.try_acquire(f"10.0.0.{number}", 0)
    assert len(limiter._buckets) <= 101
    limiter.try_acquire("late", 100)
    assert len(limiter._buckets) == 1
    assert not any(b"10.0" in key for key in limiter._buckets)


def test_a_participant_who_floods_is_told_to_wait_and_others_are_not(make_site):
    site = make_site(requests_a_minute=20)
    app = participant.create_app(site)
    one = Person(app)
    one.join()
    replies = [one.http.get("/api/now") for _ in range(40)]
    assert replies[-1].status_code == 429 and replies[-1].headers["retry-after"]
    assert one.post("/api/answer", {"number": 0, "key": "a" * 32}).status_code == 429


def test_joining_is_limited_by_address(make_site):
    site = make_site(joins_an_hour=3)
    app = participant.create_app(site)
    codes = [Person(app).join().status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_passwords_cannot_be_tried_for_long(site):
    http = Person(participant.create_app(site)).http
    codes = [http.post("/admin/login", data={"password": f"guess {n}"}).status_code for n in range(7)]
    assert codes == [401] * 5 + [429] * 2
    assert http.post("/admin/login", data={"password": PASSWORD}).status_code == 429
