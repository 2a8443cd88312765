"""The study in Debian's Chromium: a session by keyboard, reloads, what is heard and seen, phone and wide screens."""

import csv
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

from synesthesia.human_study import export
from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db import stored_plan
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.schema import STEP, STUDY
from synesthesia.human_study.stimuli import tones
from tests.helpers import small_human_study
from tests.helpers.study_participants import PASSWORD

pytestmark = pytest.mark.slow

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
OPTION = "[data-options] button:not([disabled])"


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=60_000)
        yield browser
        browser.close()


class Page:
    """A participant's tab; every wait is bounded by Playwright's 30 seconds."""

    def __init__(self, context, server, link="/"):
        self.tab = context.new_page()
        self.problems: list[str] = []
        self.headers: list[tuple[str, str, float]] = []  # of the steps done by `press`: kind, text, share of the bar
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("console", lambda m: self.problems.append(m.text) if "Content Security Policy" in m.text else None)
        self.database = database.Database(f"sqlite:///{server.folder}/humans/study.sqlite")
        self.tab.goto(server.base + link)

    def begin(self):
        self.tab.focus("#agree")
        self.tab.keyboard.press("Space")
        self.tab.keyboard.press("Enter")
        self.tab.wait_for_url("**/study")
        return self.at("expect")

    def step(self) -> list[str]:
        """The current step's words; while a page loads (a reload comes back before its script has run) it waits."""
        return self.tab.wait_for_function("() => document.body?.dataset.step").json_value().split()

    def at(self, kind):
        self.tab.wait_for_function("kind => document.body.dataset.step?.split(' ').at(-1) === kind", arg=kind)
        return self

    def next(self, was):
        self.tab.wait_for_function("was => document.body.dataset.step !== was", arg=" ".join(was))
        return self.step()

    def kept(self):
        """The row of the current step."""
        with self.database.read() as connection:
            return connection.execute(select(STEP).where(STEP.c.number == int(self.step()[0]))).one()

    def header(self) -> tuple[str, float]:
        """How far it says that the participant is, in words and as the share of the bar that is filled."""
        return self.tab.inner_text("#where"), self.tab.evaluate("document.getElementById('progress').position")

    def pass_sound(self):
        count = json.loads(self.kept().detail)["tones"]
        self.tab.keyboard.press("Space")
        self.tab.wait_for_selector("[data-count]:not([disabled])")
        self.tab.keyboard.press(str(count))

    def press(self) -> list[str]:
        """Do what the current step asks for, by keyboard alone; the next step."""
        was = self.step()
        kind = was[-1]
        self.headers.append((kind, *self.header()))
        if kind in ("expect", "block"):
            self.tab.wait_for_selector("[data-go]")
            self.tab.keyboard.press("Enter")
        elif kind == "sound":
            self.pass_sound()
        elif kind == "headphones":
            for target in tones.TARGET_INTERVALS:
                self.tab.wait_for_selector("[data-pick][disabled]")
                self.tab.keyboard.press("Space")
                self.tab.wait_for_selector("[data-pick]:not([disabled])")
                self.tab.keyboard.press(str(target + 1))
        elif kind == "comments":
            self.tab.focus("textarea")
            self.tab.keyboard.type("I listened <b>closely</b>.")
            self.tab.keyboard.press("Tab")
            self.tab.keyboard.press("Enter")
        else:
            self.tab.wait_for_selector(OPTION)
            letter = "C"
            if kind == "check":
                letter = self.tab.inner_text(".instruct").partition("“")[2][0]
            self.tab.keyboard.press(letter)
            if kind == "practice":
                self.tab.wait_for_selector("[data-feedback]:not([hidden])")
                self.tab.keyboard.press("Enter")
        return self.next(was)

    def until(self, kind):
        while self.step()[-1] != kind:
            self.press()
        return self

    def has_focus(self, wanted):
        self.tab.wait_for_function("wanted => document.hasFocus() === wanted", arg=wanted)

    def hide(self, hidden):
        """What `document.visibilityState` says and tells. A browser without windows never hides a page by itself."""
        self.tab.evaluate(
            "state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            "hidden" if hidden else "visible",
        )

    def shot(self, name):
        """For people to look at, where SYNESTHESIA_SCREENSHOTS names a folder."""
        if folder := os.environ.get("SYNESTHESIA_SCREENSHOTS"):
            self.tab.screenshot(path=f"{folder}/{name}.png")

    def finished(self):
        with self.database.read() as connection:
            return load_completed_trials(connection)


@needs_browser
def test_a_whole_session_by_keyboard_with_a_reload_in_the_middle_and_a_bar_that_fills(served, chromium):
    server = served(headphones="ask")
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = Page(context, server, "/?PROLIFIC_PID=5f0c1a")
    assert "PROLIFIC" not in page.tab.url
    page.begin()
    page.until("trial")
    page.press()
    page.until("trial")
    here = page.step()
    asked = page.tab.inner_text("[data-options]")
    page.tab.reload()
    page.tab.wait_for_selector(OPTION)
    assert (page.step(), page.tab.inner_text("[data-options]")) == (here, asked)
    page.until("comments")
    page.press()
    page.at("finished")
    assert len(page.tab.inner_text("[data-code]")) == 8
    _tells_how_far(page)
    rows = page.finished()
    assert len(rows) == 6 and {r.choice for r in rows} == {2}
    assert all(0 < r.seconds < 60 for r in rows)
    assert page.problems == []
    page.tab.goto(server.base + "/admin")
    page.tab.fill("#password", PASSWORD)
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector(".cards")
    assert page.tab.inner_text(".comments dd") == "I listened <b>closely</b>."
    with page.tab.expect_download() as download:
        page.tab.click("text=Download CSV")
    assert len(Path(download.value.path()).read_text().splitlines()) == 7
    context.close()


def _tells_how_far(page):
    """Words and bar of every screen; what is shown twice because of the reload counts once."""
    told = list(dict.fromkeys(page.headers))
    practised = [text for kind, text, _ in told if kind == "practice"]
    assert practised == [f"Practice · clip {n} of 3" for n in (1, 2, 3)]
    assert {(text, share) for kind, text, share in told if kind in ("expect", "sound", "headphones")} == {
        ("Before we begin", 0.0)
    }
    trials = [(text.rpartition(" · ")[0], share) for kind, text, share in told if kind == "trial"]
    expected = [
        (f"Part {p} of 3 · clip {c} of 2", pytest.approx((2 * (p - 1) + c - 1) / 6)) for p in (1, 2, 3) for c in (1, 2)
    ]
    assert trials == expected
    shares = [share for _, _, share in told]
    assert shares == sorted(shares)
    assert told[-1] == ("comments", "All clips done · one last question", 1.0)
    assert page.header() == ("Finished", 1.0)


@needs_browser
def test_audio_shows_no_picture_silent_video_has_no_sound_and_pictures_are_the_stored_ones(served_here, chromium):
    server = served_here(attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = Page(context, server)
    page.begin()
    seen = Counter()
    while page.step()[-1] != "comments":
        if page.step()[-1] == "trial":
            page.tab.wait_for_selector(OPTION)
            row = page.kept()
            videos = page.tab.locator("video").count()
            assert videos == (0 if row.condition == "audio" else 1)
            if videos:
                heard = page.tab.wait_for_function(
                    "() => { const v = document.querySelector('video'); return v.currentTime > 0.4 && v.videoWidth && "
                    "{ bytes: v.webkitAudioDecodedByteCount }; }"
                ).json_value()
                assert (heard["bytes"] > 0) == (row.condition == "sounded_video")
                _same_picture(page, server, row)
            seen[row.condition] += 1
        page.press()
    assert seen == {"audio": 2, "silent_video": 2, "sounded_video": 2}
    context.close()


def _same_picture(page, server, row):
    """The first second, drawn from the browser's own decoder, against the stored JPEG."""
    import base64

    from synesthesia.data.store import Store

    page.tab.evaluate("() => { const v = document.querySelector('video'); v.pause(); v.currentTime = 0.5; }")
    page.tab.wait_for_function("() => !document.querySelector('video').seeking")
    data = page.tab.evaluate(
        "() => { const v = document.querySelector('video'), c = document.createElement('canvas');"
        " c.width = v.videoWidth; c.height = v.videoHeight; c.getContext('2d').drawImage(v, 0, 0);"
        " return c.toDataURL('image/png'); }"
    )
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"), float)
    asked = stored_plan.load_questions(page.database)[row.question_id]
    stored = Store(server.folder / "out/curate/store").frames(asked.shard, asked.row)[0].astype(float)
    assert drawn.shape == stored.shape
    assert np.abs(drawn - stored).mean() < 4  # of 255; 4:2:0 and the browser's own upsampling of colour


@needs_browser
def test_replays_end_where_the_parameters_say_even_after_a_reload(served_here, chromium):
    server = served_here(replays=1, attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page = Page(context, server)
    page.begin()
    page.until("trial")
    page.tab.wait_for_selector("[data-replay]:not([disabled])")  # the clip has ended
    page.tab.keyboard.press("Space")
    page.tab.wait_for_function("() => document.querySelector('[data-left]').textContent === 'no more replays'")
    page.tab.reload()
    page.tab.wait_for_selector(OPTION)
    assert page.tab.is_disabled("[data-replay]")
    assert page.tab.evaluate("document.querySelector('[data-media]').querySelector('audio, video').paused")
    page.press()
    assert [r.replays for r in page.finished()] == [1]
    context.close()


@needs_browser
def test_a_dropped_network_and_two_tabs_lose_and_double_nothing(served_here, chromium):
    server = served_here(attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page = Page(context, server)
    page.begin()
    page.until("trial")
    other = Page(context, server, "/study")
    other.at("trial")
    other.tab.wait_for_selector(OPTION)
    page.tab.bring_to_front()
    page.tab.wait_for_selector(OPTION)
    lost = []
    page.tab.route(
        "**/api/answer", lambda route: (lost.append(route.fetch()), route.abort()) if not lost else route.continue_()
    )
    was = page.step()
    page.tab.keyboard.press("D")  # the server saves it, and the reply is lost on the way
    page.next(was)
    assert [r.choice for r in page.finished()] == [3]
    other.tab.bring_to_front()
    other.tab.keyboard.press("E")
    other.next(was)
    assert "another tab" in other.tab.inner_text("#status")
    assert [r.choice for r in page.finished()] == [3]
    context.close()


@needs_browser
def test_a_clip_that_does_not_load_is_tried_again_and_counted(served_here, chromium):
    server = served_here(attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page = Page(context, server)
    page.begin()
    page.until("block")
    tries = []
    page.tab.route(
        "**/stimuli/*", lambda route: tries.append(1) or (route.abort() if len(tries) <= 2 else route.continue_())
    )
    page.press()
    page.tab.wait_for_selector(OPTION)
    page.press()
    assert [r.load_failures for r in page.finished()] == [2]
    context.close()


@needs_browser
def test_going_to_another_page_is_counted_and_comes_out_in_the_export(served_here, chromium, tmp_path):
    """Real focus: Playwright's pretence that every page has it is switched off, and another page comes to the front."""
    server = served_here(attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    page = Page(context, server)
    page.begin()
    page.until("trial")
    page.tab.wait_for_selector(OPTION)
    devtools = context.new_cdp_session(page.tab)
    devtools.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    page.tab.bring_to_front()
    page.has_focus(True)
    elsewhere = context.new_page()
    for _ in range(2):
        elsewhere.bring_to_front()
        page.has_focus(False)
        page.hide(True)  # as a browser with a window tells beside the blur: one absence all the same
        page.hide(False)
        page.tab.bring_to_front()
        page.has_focus(True)
    page.press()
    page.until("trial")
    page.tab.wait_for_selector(OPTION)
    page.hide(True)  # as a phone tells it when another app comes to the front: without a blur
    page.hide(False)
    page.tab.reload()  # not going away
    page.tab.bring_to_front()
    page.has_focus(True)
    page.press()
    page.until("trial")
    page.press()
    path, _ = export.write_csv(page.database, small_human_study.parameters().human_study, tmp_path)
    with path.open(newline="") as file:
        counts = [int(row["focus_lost"]) for row in csv.DictReader(file)]
    assert counts == [2, 1, 0]
    context.close()


@needs_browser
def test_a_trial_fits_wide_screens_and_phones_and_has_names_for_screen_readers(served_here, chromium):
    server = served_here(attention_checks=0, practice=0)
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, has_touch=True)
    page = Page(context, server)
    page.begin()
    page.until("block")
    assert page.tab.evaluate("document.activeElement.innerText").startswith("Part 1 of 3")  # is read by itself
    page.until("trial")
    page.tab.wait_for_selector(OPTION)
    options = page.tab.locator("[data-options] button")
    for width, height in ((1280, 800), (390, 844), (844, 390)):
        page.tab.set_viewport_size({"width": width, "height": height})
        page.shot(f"trial-{width}")
        boxes = [button.bounding_box() for button in options.all()]
        assert max(box["y"] + box["height"] for box in boxes) <= height
        assert all(box["height"] >= 40 for box in boxes)
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    names = [button.inner_text().replace("\n", " ") for button in options.all()]
    tree = page.tab.locator("body").aria_snapshot()
    assert all(name.split(" ", 1)[1] in tree for name in names)
    assert 'group "Classify the sounding object' in tree and 'progressbar "How far you are"' in tree
    assert [button.get_attribute("aria-keyshortcuts") for button in options.all()] == list("ABCDEFGHIJ")
    assert page.tab.evaluate("document.activeElement === document.querySelector('[data-head]')")
    was = page.step()
    options.nth(4).tap()
    page.next(was)
    page.until("trial")
    page.tab.wait_for_selector(OPTION)
    was = page.step()
    options.nth(6).focus()
    page.tab.keyboard.press("Space")  # presses what has the focus, as everywhere, and does not play again
    page.next(was)
    context.close()
    assert [r.choice for r in page.finished()] == [4, 6]


@needs_browser
def test_withdrawing_asks_once_and_deletes(served_here, chromium):
    server = served_here(practice=0)
    context = chromium.new_context()
    page = Page(context, server)
    page.begin()
    page.until("trial")
    page.tab.click("#withdraw")
    page.tab.keyboard.press("Enter")  # the safe choice has the focus
    page.tab.wait_for_selector("#sure:not([open])", state="attached")
    assert page.step()[-1] == "trial"
    page.tab.click("#withdraw")
    page.tab.click("#sure button[value=yes]")
    page.at("withdrawn")
    assert page.tab.is_hidden("#progress")
    with page.database.read() as connection:
        assert connection.execute(select(STEP)).all() == []
    context.close()


@needs_browser
def test_a_study_that_is_closed_or_a_cookie_that_is_gone_is_said_and_nothing_else(served_here, chromium):
    server = served_here()
    context = chromium.new_context()
    page = Page(context, server)
    page.begin()
    with page.database.write() as connection:
        connection.execute(update(STUDY).values(state="closed"))
    page.tab.keyboard.press("Enter")
    page.at("closed")
    assert page.tab.inner_text("h1") == "The study is closed"
    assert page.tab.inner_text("#status") == "" and page.tab.is_hidden("#progress")  # no word of another tab
    context.clear_cookies()
    page.tab.click("#withdraw")
    page.tab.click("#sure button[value=yes]")
    page.tab.wait_for_selector("h1:text('Your session has ended')")
    assert page.tab.is_hidden("#withdraw")
    context.close()
