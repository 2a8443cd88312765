"""Text of other people's making stays text on every page."""

import pytest

from synesthesia.human_study import consent
from synesthesia.human_study.web import participant
from tests.helpers.study_participants import PASSWORD, Person

pytestmark = pytest.mark.slow  # a real server and database


def test_a_comment_is_shown_to_the_researcher_as_text(site, joined):
    person = joined()
    step = person.go("comments")["step"]
    person.answer(step, comment="<script>alert(1)</script>\n\"'&")
    person.http.post("/admin/login", data={"password": PASSWORD})
    page = person.http.get("/admin").text
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_labels_with_markup_stay_text(joined):
    """The little study's labels are written `<i>label</i> 00 & co`: they are JSON, and become text on the page."""
    step = joined().go("trial")["step"]
    assert any("<i>" in option for option in step["question"]["options"])
    from synesthesia.human_study.web.app_state import STATIC_DIR

    assert "innerHTML" not in (STATIC_DIR / "screens.js").read_text()
    assert (STATIC_DIR / "player.js").read_text().count("innerHTML = EAR") == (
        STATIC_DIR / "player.js"
    ).read_text().count("innerHTML")


def test_the_consent_text_is_markdown_without_raw_html(tmp_path, make_site):
    text = tmp_path / "consent.md"
    text.write_text("## Why\n<script>alert(1)</script> **bold** [x](javascript:alert(1)) {retention} {contact}")
    site = make_site(consent=str(text), retention="Kept <b>long</b>.")
    page = Person(participant.create_app(site)).http.get("/").text
    assert "<script>alert" not in page and "<strong>bold</strong>" in page and "Kept &lt;b&gt;long" in page
    assert 'href="javascript' not in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Nothing.", "must say {retention}"),
        ("{retention}", "must say {contact}"),
        ("{retention} {contact} {age}", "{age} is not known"),
    ],
)
def test_a_consent_text_that_lacks_something_is_refused_by_name(tmp_path, text, said):
    from tests.helpers import small_human_study

    path = tmp_path / "consent.md"
    path.write_text(text)
    with pytest.raises(consent.ConsentError) as error:
        consent.load_consent(small_human_study.parameters(consent=str(path)).human_study)
    assert said in str(error.value)


def test_the_link_is_never_in_an_address_with_an_id(joined):
    person = Person(joined.app, "/?PROLIFIC_PID=<script>alert(1)</script>")
    page = person.http.get("/")
    assert "alert(1)" not in page.text and page.url.query == b""
