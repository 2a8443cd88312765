"""Stimuli are served by name only: no path leads out of the folder, and none lists it."""

import pytest
from fastapi.testclient import TestClient

from synesthesia.human_study.web.participant import create_app

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def http(app_state):
    return TestClient(create_app(app_state))


@pytest.mark.parametrize(
    "path",
    [
        "/stimuli/../secret",
        "/stimuli/..%2fsecret",
        "/stimuli/..%2f..%2fparams.yaml",
        "/stimuli/%2e%2e/secret",
        "/stimuli/....//secret",
        "/stimuli/..\\secret",
        "/stimuli/%00",
        "/stimuli//etc/passwd",
        "/stimuli/" + "a" * 40 + ".wav%00.mp4",
        "/stimuli/" + "a" * 40 + ".wav",
        "/stimuli/" + "A" * 40 + ".wav",
        "/stimuli/" + "a" * 40 + ".py",
        "/stimuli/",
        "/stimuli",
        "/static/../secret",
        "/static/..%2fparticipant.py",
        "/static/%2e%2e/participant.py",
        "/static//etc/passwd",
        "/docs",
        "/openapi.json",
        "/humans/human_study.sqlite",
    ],
)
def test_no_path_leads_out_of_the_stimulus_folder(http, app_state, path):
    reply = http.get(path)
    assert reply.status_code in (404, 405)
    assert app_state.secret not in reply.content and b"import" not in reply.content


def test_a_link_in_the_folder_needs_a_stimulus_name(http, prepared_study):
    link = prepared_study / "humans/stimuli/link.wav"
    link.symlink_to(prepared_study / "humans/secret")
    try:
        assert http.get("/stimuli/link.wav").status_code == 404
    finally:
        link.unlink()


def test_a_stimulus_is_cacheable_and_served_completely_or_in_ranges(http, app_state):
    name = app_state.stimulus_names.sound_check(3)
    complete = http.get(f"/stimuli/{name}")
    assert complete.headers["content-type"] == "video/mp4"
    assert "immutable" in complete.headers["cache-control"] and "private" in complete.headers["cache-control"]
    part = http.get(f"/stimuli/{name}", headers={"Range": "bytes=10-19"})  # Safari requests ranges
    assert part.status_code == 206 and part.content == complete.content[10:20]
