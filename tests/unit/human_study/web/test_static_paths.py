"""Stimuli are found by their names alone: no path leads out of the folder, and none lists it."""

import pytest
from fastapi.testclient import TestClient

from synesthesia.human_study.web import participant

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture
def http(site):
    return TestClient(participant.create_app(site))


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
        "/static/..%2fweb.py",
        "/static/%2e%2e/web.py",
        "/static//etc/passwd",
        "/docs",
        "/openapi.json",
        "/humans/study.sqlite",
    ],
)
def test_no_path_leads_anywhere_but_to_a_stimulus(http, site, path):
    reply = http.get(path)
    assert reply.status_code in (404, 405)
    assert site.secret not in reply.content and b"import" not in reply.content


def test_a_link_inside_the_folder_needs_a_stimulus_name(http, site, prepared):
    (prepared / "humans/stimuli/link.wav").symlink_to(prepared / "humans/secret")
    try:
        assert http.get("/stimuli/link.wav").status_code == 404
    finally:
        (prepared / "humans/stimuli/link.wav").unlink()


def test_a_stimulus_is_served_whole_in_parts_and_to_be_kept(http, site):
    name = site.names.check(3)
    whole = http.get(f"/stimuli/{name}")
    assert whole.headers["content-type"] == "video/mp4"
    assert "immutable" in whole.headers["cache-control"] and "private" in whole.headers["cache-control"]
    part = http.get(f"/stimuli/{name}", headers={"Range": "bytes=10-19"})  # Safari asks in parts
    assert part.status_code == 206 and part.content == whole.content[10:20]
