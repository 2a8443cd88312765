"""A browser tab of a participant, driven by Playwright; uses an installed Chromium."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from sqlalchemy import select

from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.connection import Database
from synesthesia.human_study.db.schema import STEP
from synesthesia.human_study.stimuli import tones

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt-get install chromium)")
OPTION = "[data-options] button:not([disabled])"


class BrowserTab:
    """A browser tab of a participant; every wait has Playwright's timeout of 30 seconds."""

    def __init__(self, context, server, link="/"):
        self.page = context.new_page()
        self.errors: list[str] = []
        self.headers: list[
            tuple[str, str, float]
        ] = []  # per step done by `do_step`: kind, text, position of the progress bar
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if "Content Security Policy" in m.text else None)
        self.database = Database(f"sqlite:///{server.folder}/humans/human_study.sqlite")
        self.page.goto(server.base_url + link)

    def start(self):
        """Give consent by keyboard."""
        self.page.focus("#consent-checkbox")
        self.page.keyboard.press("Space")
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/study")
        return self.wait_for("instructions")

    def step(self) -> list[str]:
        """Return number and kind of the current step, or the state; wait while the page loads."""
        return self.page.wait_for_function("() => document.body?.dataset.step").json_value().split()

    def wait_for(self, kind):
        self.page.wait_for_function("kind => document.body.dataset.step?.split(' ').at(-1) === kind", arg=kind)
        return self

    def wait_for_change(self, step):
        """Wait until the step changes; return the new one."""
        self.page.wait_for_function("step => document.body.dataset.step !== step", arg=" ".join(step))
        return self.step()

    def step_row(self):
        """Return the database row of the current step."""
        with self.database.read() as connection:
            return connection.execute(select(STEP).where(STEP.c.number == int(self.step()[0]))).one()

    def header(self) -> tuple[str, float]:
        """Return the text of the header and the filled fraction of its progress bar."""
        position = self.page.evaluate("document.getElementById('progress').position")
        return self.page.inner_text("#progress-text"), position

    def pass_sound_check(self):
        n_tones = json.loads(self.step_row().detail)["n_tones"]
        self.page.keyboard.press("Space")
        self.page.wait_for_selector("[data-count]:not([disabled])")
        self.page.keyboard.press(str(n_tones))

    def pass_headphone_check(self):
        for target in tones.TARGET_INTERVALS:
            self.page.wait_for_selector("[data-pick][disabled]")
            self.page.keyboard.press("Space")
            self.page.wait_for_selector("[data-pick]:not([disabled])")
            self.page.keyboard.press(str(target + 1))

    def do_step(self) -> list[str]:
        """Do the current step by keyboard only; return the next step."""
        step = self.step()
        kind = step[-1]
        self.headers.append((kind, *self.header()))
        if kind in ("instructions", "block_intro"):
            self.page.wait_for_selector("[data-continue]")
            self.page.keyboard.press("Enter")
        elif kind == "sound_check":
            self.pass_sound_check()
        elif kind == "headphone_check":
            self.pass_headphone_check()
        elif kind == "comments":
            self.page.focus("textarea")
            self.page.keyboard.type("I listened <b>closely</b>.")
            self.page.keyboard.press("Tab")
            self.page.keyboard.press("Enter")
        else:
            self.page.wait_for_selector(OPTION)
            letter = "C"
            if kind == "attention_check":
                letter = self.page.inner_text(".instruction").partition("“")[2][0]
            self.page.keyboard.press(letter)
            if kind == "practice":
                self.page.wait_for_selector("[data-feedback]:not([hidden])")
                self.page.keyboard.press("Enter")
        return self.wait_for_change(step)

    def do_until(self, kind):
        while self.step()[-1] != kind:
            self.do_step()
        return self

    def wait_for_focus(self, has_focus):
        self.page.wait_for_function("hasFocus => document.hasFocus() === hasFocus", arg=has_focus)

    def set_hidden(self, is_hidden):
        """Simulate `document.visibilityState` and its event: a headless browser never hides a page."""
        self.page.evaluate(
            "state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            "hidden" if is_hidden else "visible",
        )

    def save_screenshot(self, name):
        """Save a screenshot if SYNESTHESIA_SCREENSHOTS names a folder."""
        if folder := os.environ.get("SYNESTHESIA_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")

    def completed_trials(self):
        with self.database.read() as connection:
            return load_completed_trials(connection)
