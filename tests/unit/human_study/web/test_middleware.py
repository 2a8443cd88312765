"""Security headers on every response, and pages that need nothing that the headers forbid."""

import pytest

from tests.helpers.study_participants import PASSWORD

pytestmark = pytest.mark.slow  # a real server and database


@pytest.mark.parametrize(
    "path", ["/", "/study", "/api/session", "/admin", "/static/study.js", "/nowhere", "/stimuli/x"]
)
def test_every_response_has_the_security_headers(new_participant, path):
    reply = new_participant().http.get(path)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "same-origin"
    assert reply.headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "server" not in reply.headers


def test_pages_have_no_inline_scripts_styles_or_handlers(new_participant):
    http = new_participant().http
    http.post("/admin/login", data={"password": PASSWORD})
    for path in ("/study", "/admin"):
        page = http.get(path).text
        assert "<script>" not in page and "style=" not in page and "<style" not in page
        assert not any(f" on{event}=" in page for event in ("click", "load", "submit", "error"))
