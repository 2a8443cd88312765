"""Text from participants, labels, and the consent file is escaped on every page."""

import pytest

from synesthesia.human_study import consent
from synesthesia.human_study.web.app_state import STATIC_DIR
from synesthesia.human_study.web.participant import create_app
from tests.helpers import small_human_study
from tests.helpers.study_participants import PASSWORD, Participant

pytestmark = pytest.mark.slow  # a real server and database


def test_the_researcher_sees_comments_as_text(new_participant):
    person = new_participant()
    step = person.answer_until("comments")["step"]
    person.answer(step, comment="<script>alert(1)</script>\n\"'&")
    person.http.post("/admin/login", data={"password": PASSWORD})
    page = person.http.get("/admin").text
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_labels_with_markup_stay_text(new_participant):
    """Labels such as `<i>label</i> 00 & co` are sent as JSON and become text nodes."""
    step = new_participant().answer_until("trial")["step"]
    assert any("<i>" in option for option in step["question"]["options"])
    assert "innerHTML" not in (STATIC_DIR / "screens.js").read_text()
    player = (STATIC_DIR / "player.js").read_text()
    assert player.count("innerHTML = SPEAKER_ICON") == player.count("innerHTML") == 1


def test_the_consent_text_is_markdown_without_raw_html(tmp_path, make_app_state):
    path = tmp_path / "consent.md"
    path.write_text("## Why\n<script>alert(1)</script> **bold** [x](javascript:alert(1)) {retention} {contact}")
    app_state = make_app_state(consent=str(path), retention="Kept <b>long</b>.")
    page = Participant(create_app(app_state)).http.get("/").text
    assert "<script>alert" not in page and "<strong>bold</strong>" in page and "Kept &lt;b&gt;long" in page
    assert 'href="javascript' not in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nothing.", "must contain {retention}"),
        ("{retention}", "must contain {contact}"),
        ("{retention} {contact} {age}", "unknown placeholder {age}"),
    ],
)
def test_missing_and_unknown_placeholders_of_the_consent_text_are_named(tmp_path, text, message):
    path = tmp_path / "consent.md"
    path.write_text(text)
    with pytest.raises(consent.ConsentError) as error:
        consent.load_consent(small_human_study.make_config(consent=str(path)).human_study)
    assert message in str(error.value)


def test_an_external_id_appears_neither_in_the_page_nor_in_its_address(new_participant):
    person = Participant(new_participant.app, "/?PROLIFIC_PID=<script>alert(1)</script>")
    page = person.http.get("/")
    assert "alert(1)" not in page.text and page.url.query == b""
