"""The study in Debian's Chromium: sessions by keyboard, reloads, media, network failures, phone and wide screens."""

import base64
import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

from synesthesia.data.store import Store
from synesthesia.human_study import export
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.schema import STEP, STUDY
from tests.helpers import small_human_study
from tests.helpers.browser_tab import CHROMIUM, FLAGS, OPTION, BrowserTab, needs_browser
from tests.helpers.study_participants import PASSWORD

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=60_000)
        yield browser
        browser.close()


@needs_browser
def test_a_complete_session_by_keyboard_with_a_reload_and_a_progress_bar(start_server, chromium):
    server = start_server(headphone_check="ask")
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    tab = BrowserTab(context, server, "/?PROLIFIC_PID=5f0c1a")
    assert "PROLIFIC" not in tab.page.url
    tab.start()
    tab.do_until("trial")
    tab.do_step()
    tab.do_until("trial")
    step, options = tab.step(), tab.page.inner_text("[data-options]")
    tab.page.reload()
    tab.page.wait_for_selector(OPTION)
    assert (tab.step(), tab.page.inner_text("[data-options]")) == (step, options)
    tab.do_until("comments")
    tab.do_step()
    tab.wait_for("finished")
    assert len(tab.page.inner_text("[data-code]")) == 8
    _check_headers(tab)
    rows = tab.completed_trials()
    assert len(rows) == 6 and {r.choice for r in rows} == {2}
    assert all(0 < r.seconds < 60 for r in rows)
    assert tab.errors == []
    tab.page.goto(server.base_url + "/admin")
    tab.page.fill("#password", PASSWORD)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".cards")
    assert tab.page.inner_text(".comments dd") == "I listened <b>closely</b>."
    with tab.page.expect_download() as download:
        tab.page.click("text=Download CSV")
    assert len(Path(download.value.path()).read_text().splitlines()) == 7
    context.close()


def _check_headers(tab):
    """Check text and bar of every screen; a screen repeated by the reload counts once."""
    headers = list(dict.fromkeys(tab.headers))
    practice_texts = [text for kind, text, _ in headers if kind == "practice"]
    assert practice_texts == [f"Practice · clip {n} of 3" for n in (1, 2, 3)]
    first_kinds = ("instructions", "sound_check", "headphone_check")
    assert {(text, value) for kind, text, value in headers if kind in first_kinds} == {("Before we start", 0.0)}
    trials = [(text.rpartition(" · ")[0], value) for kind, text, value in headers if kind == "trial"]
    expected = [
        (f"Part {p} of 3 · clip {c} of 2", pytest.approx((2 * (p - 1) + c - 1) / 6)) for p in (1, 2, 3) for c in (1, 2)
    ]
    assert trials == expected
    values = [value for _, _, value in headers]
    assert values == sorted(values)
    assert headers[-1] == ("comments", "All clips done · one last question", 1.0)
    assert tab.header() == ("Finished", 1.0)


@needs_browser
def test_two_participants_of_one_browser_share_neither_answers_nor_replays(start_thread_server, chromium):
    server = start_thread_server(max_replays=1, attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    first = BrowserTab(context, server, "/?PROLIFIC_PID=first")
    assert first.page.url == server.base_url + "/"
    first.start()
    first.do_until("trial")
    first.page.wait_for_selector("[data-replay]:not([disabled])")  # the clip has ended
    first.page.keyboard.press("Space")
    first.page.wait_for_function("() => document.querySelector('[data-replays-left]').textContent[0] === 'n'")
    step = first.step()
    first.page.route("**/api/answer", lambda route: route.abort())
    first.page.keyboard.press("D")  # never arrives, and waits in the browser
    first.page.wait_for_function("() => document.querySelector('#status').textContent.includes('Trying again')")
    first_id = first.step_row().participant
    first.page.close()

    second = BrowserTab(context, server, "/?PROLIFIC_PID=second")

    def step_row():
        is_current = (STEP.c.number == int(second.step()[0])) & (STEP.c.participant != first_id)
        with second.database.read() as connection:
            return connection.execute(select(STEP).where(is_current)).one()

    second.step_row = step_row
    second.start()
    second.do_until("trial")
    second.page.wait_for_selector("[data-replay]:not([disabled])")
    assert second.step() == step  # the same number, so that what the browser stores by number would be mistaken
    assert second.page.inner_text("[data-replays-left]") == "1 more time"
    assert second.completed_trials() == []
    second.page.close()

    back = BrowserTab(context, server, "/?PROLIFIC_PID=first")
    back.page.wait_for_url("**/study")
    back.wait_for_change(step)
    assert [row.choice for row in back.completed_trials()] == [3]  # the answer of the first
    context.close()


@needs_browser
def test_each_condition_plays_its_media_and_frames_are_the_stored_ones(start_thread_server, chromium):
    server = start_thread_server(attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    tab = BrowserTab(context, server)
    tab.start()
    n_trials = Counter()
    while tab.step()[-1] != "comments":
        if tab.step()[-1] == "trial":
            tab.page.wait_for_selector(OPTION)
            row = tab.step_row()
            n_videos = tab.page.locator("video").count()
            assert n_videos == (0 if row.condition == "audio" else 1)
            if n_videos:
                audio = tab.page.wait_for_function(
                    "() => { const v = document.querySelector('video'); return v.currentTime > 0.4 && v.videoWidth && "
                    "{ bytes: v.webkitAudioDecodedByteCount }; }"
                ).json_value()
                assert (audio["bytes"] > 0) == (row.condition == "sounded_video")
                _check_frame(tab, server, row)
            n_trials[row.condition] += 1
        tab.do_step()
    assert n_trials == {"audio": 2, "silent_video": 2, "sounded_video": 2}
    context.close()


def _check_frame(tab, server, row):
    """Compare the first second, drawn from the browser's decoder, with the stored JPEG."""
    tab.page.evaluate("() => { const v = document.querySelector('video'); v.pause(); v.currentTime = 0.5; }")
    tab.page.wait_for_function("() => !document.querySelector('video').seeking")
    url = tab.page.evaluate(
        "() => { const v = document.querySelector('video'), c = document.createElement('canvas');"
        " c.width = v.videoWidth; c.height = v.videoHeight; c.getContext('2d').drawImage(v, 0, 0);"
        " return c.toDataURL('image/png'); }"
    )
    png = base64.b64decode(url.partition(",")[2])
    drawn = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)
    question = stored_plan.load_questions(tab.database)[row.question_id]
    stored = Store(server.folder / "out/curate/store").frames(question.shard, question.row)[0].astype(float)
    assert drawn.shape == stored.shape
    assert np.abs(drawn - stored).mean() < 4  # of 255; 4:2:0 and the browser's chroma upsampling


@needs_browser
def test_the_replay_limit_holds_after_a_reload(start_thread_server, chromium):
    server = start_thread_server(max_replays=1, attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("trial")
    tab.page.wait_for_selector("[data-replay]:not([disabled])")  # the clip has ended
    tab.page.keyboard.press("Space")
    tab.page.wait_for_function("() => document.querySelector('[data-replays-left]').textContent === 'no more replays'")
    tab.page.reload()
    tab.page.wait_for_selector(OPTION)
    assert tab.page.is_disabled("[data-replay]")
    assert tab.page.evaluate("document.querySelector('[data-media]').querySelector('audio, video').paused")
    tab.do_step()
    assert [r.replays for r in tab.completed_trials()] == [1]
    context.close()


@needs_browser
def test_a_lost_reply_and_a_second_tab_lose_and_duplicate_nothing(start_thread_server, chromium):
    server = start_thread_server(attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("trial")
    other = BrowserTab(context, server, "/study")
    other.wait_for("trial")
    other.page.wait_for_selector(OPTION)
    tab.page.bring_to_front()
    tab.page.wait_for_selector(OPTION)
    lost = []
    tab.page.route(
        "**/api/answer", lambda route: (lost.append(route.fetch()), route.abort()) if not lost else route.continue_()
    )
    step = tab.step()
    tab.page.keyboard.press("D")  # the server saves it, and the reply is lost
    tab.wait_for_change(step)
    assert [r.choice for r in tab.completed_trials()] == [3]
    other.page.bring_to_front()
    other.page.keyboard.press("E")
    other.wait_for_change(step)
    assert "another tab" in other.page.inner_text("#status")
    assert [r.choice for r in tab.completed_trials()] == [3]
    context.close()


@needs_browser
def test_failed_loads_of_a_clip_are_retried_and_counted(start_thread_server, chromium):
    server = start_thread_server(attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("block_intro")
    attempts = []
    tab.page.route(
        "**/stimuli/*", lambda route: attempts.append(1) or (route.abort() if len(attempts) <= 2 else route.continue_())
    )
    tab.do_step()
    tab.page.wait_for_selector(OPTION)
    tab.do_step()
    assert [r.load_failures for r in tab.completed_trials()] == [2]
    context.close()


@needs_browser
def test_focus_losses_are_counted_and_exported(start_thread_server, chromium, tmp_path):
    """Real focus: Playwright's focus emulation is off, and another page comes to the front."""
    server = start_thread_server(attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("trial")
    tab.page.wait_for_selector(OPTION)
    devtools = context.new_cdp_session(tab.page)
    devtools.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    tab.page.bring_to_front()
    tab.wait_for_focus(True)
    other_page = context.new_page()
    for _ in range(2):
        other_page.bring_to_front()
        tab.wait_for_focus(False)
        tab.set_hidden(True)  # a browser with windows sends this besides the blur: one loss all the same
        tab.set_hidden(False)
        tab.page.bring_to_front()
        tab.wait_for_focus(True)
    tab.do_step()
    tab.do_until("trial")
    tab.page.wait_for_selector(OPTION)
    tab.set_hidden(True)  # a phone sends this without a blur when another app comes to the front
    tab.set_hidden(False)
    tab.page.reload()  # not a loss
    tab.page.bring_to_front()
    tab.wait_for_focus(True)
    tab.do_step()
    tab.do_until("trial")
    tab.do_step()
    path, _ = export.write_csv(tab.database, small_human_study.make_config().human_study, tmp_path)
    with path.open(newline="") as file:
        counts = [int(row["focus_lost"]) for row in csv.DictReader(file)]
    assert counts == [2, 1, 0]
    context.close()


@needs_browser
def test_a_trial_fits_wide_screens_and_phones_and_is_accessible(start_thread_server, chromium):
    server = start_thread_server(attention_checks=0, practice_trials=0)
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, has_touch=True)
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("block_intro")
    assert tab.page.evaluate("document.activeElement.innerText").startswith("Part 1 of 3")  # screen readers read it
    tab.do_until("trial")
    tab.page.wait_for_selector(OPTION)
    options = tab.page.locator("[data-options] button")
    for width, height in ((1280, 800), (390, 844), (844, 390)):
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.save_screenshot(f"trial-{width}")
        boxes = [button.bounding_box() for button in options.all()]
        assert max(box["y"] + box["height"] for box in boxes) <= height
        assert all(box["height"] >= 40 for box in boxes)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    names = [button.inner_text().replace("\n", " ") for button in options.all()]
    tree = tab.page.locator("body").aria_snapshot()
    assert all(name.split(" ", 1)[1] in tree for name in names)
    assert 'group "Classify the sounding object' in tree and 'progressbar "Progress"' in tree
    assert [button.get_attribute("aria-keyshortcuts") for button in options.all()] == list("ABCDEFGHIJ")
    assert tab.page.evaluate("document.activeElement === document.querySelector('[data-head]')")
    step = tab.step()
    options.nth(4).tap()
    tab.wait_for_change(step)
    tab.do_until("trial")
    tab.page.wait_for_selector(OPTION)
    step = tab.step()
    options.nth(6).focus()
    tab.page.keyboard.press("Space")  # presses the focused button and does not replay
    tab.wait_for_change(step)
    context.close()
    assert [r.choice for r in tab.completed_trials()] == [4, 6]


@needs_browser
def test_withdrawal_asks_for_confirmation_and_deletes(start_thread_server, chromium):
    server = start_thread_server(practice_trials=0)
    context = chromium.new_context()
    tab = BrowserTab(context, server)
    tab.start()
    tab.do_until("trial")
    tab.page.click("#withdraw")
    tab.page.keyboard.press("Enter")  # the safe choice has the focus
    tab.page.wait_for_selector("#withdraw-dialog:not([open])", state="attached")
    assert tab.step()[-1] == "trial"
    tab.page.click("#withdraw")
    tab.page.click("#withdraw-dialog button[value=yes]")
    tab.wait_for("withdrawn")
    assert tab.page.is_hidden("#progress")
    with tab.database.read() as connection:
        assert connection.execute(select(STEP)).all() == []
    context.close()


@needs_browser
def test_a_closed_study_and_a_lost_cookie_have_their_own_messages(start_thread_server, chromium):
    server = start_thread_server()
    context = chromium.new_context()
    tab = BrowserTab(context, server)
    tab.start()
    with tab.database.write() as connection:
        connection.execute(update(STUDY).values(state="closed"))
    tab.page.keyboard.press("Enter")
    tab.wait_for("closed")
    assert tab.page.inner_text("h1") == "The study is closed"
    assert tab.page.inner_text("#status") == "" and tab.page.is_hidden("#progress")  # no message about another tab
    context.clear_cookies()
    tab.page.click("#withdraw")
    tab.page.click("#withdraw-dialog button[value=yes]")
    tab.page.wait_for_selector("h1:text('Your session has ended')")
    assert tab.page.is_hidden("#withdraw")
    context.close()
