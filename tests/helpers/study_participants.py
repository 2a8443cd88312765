"""Participants without a browser, and the study served in a process of its own."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import httpx2
import uvicorn
from fastapi.testclient import TestClient

from synesthesia import config as params
from synesthesia.human_study.stimuli import tones
from synesthesia.human_study.web import participant, server
from synesthesia.human_study.web.app_state import AppState, ServerSettings

PASSWORD = "a-long-and-quiet-17"


class Person:
    """A participant's browser, without one: cookies, the page's token, and answers with keys."""

    def __init__(self, app, link: str = "/", http=None):
        self.http = http or TestClient(app, base_url="http://testserver")
        page = self.http.get(link)
        self.token = page.text.partition('name="study-token" content="')[2].partition('"')[0]
        self._keys = (f"{n:032x}" for n in itertools.count(id(self)))

    def post(self, path: str, body: dict, **headers):
        return self.http.post(path, json=body, headers={"X-Study-Token": self.token} | headers)

    def id(self, site) -> str:
        """The participant's id in the study's database."""
        sealed = site.signer.unseal(self.http.cookies["study_session"], "session", 3600)
        return site.sessions.of(hashlib.sha256(sealed.partition("|")[0].encode()).digest())

    def join(self):
        return self.post("/api/join", {"agreed": True})

    def now(self) -> dict:
        return self.http.get("/api/now").json()

    def answer(self, step: dict, key: str | None = None, **changes):
        body = {"number": step["number"], "key": key or next(self._keys)} | self.sensible(step) | changes
        return self.post("/api/answer", body)

    @staticmethod
    def sensible(step: dict) -> dict:
        """An answer that the step allows; right for the checks that have to be passed."""
        if step["kind"] in ("trial", "practice"):
            return {"choice": 3, "seconds": 2.5}
        if step["kind"] == "check":
            return {"choice": "ABCDEFGHIJ".index(step["instructed"][0]), "seconds": 2.0}
        if step["kind"] == "headphones":
            return {"picks": list(tones.TARGET_INTERVALS)}
        return {"comment": "fine"} if step["kind"] == "comments" else {}

    def pass_sound(self, step: dict) -> dict:
        """Try numbers of tones until one is right."""
        for choice in (3, 4, 5):
            reply = self.answer(step, choice=choice).json()
            if reply["status"] != "again":
                return reply
        raise AssertionError("no number of tones was right")

    def go(self, until: str | None = None, most: int = 400) -> dict:
        """Answer on, up to a step of kind `until`, or to the end; the state there."""
        now = self.now()
        for _ in range(most):
            if now["state"] != "active" or now["step"]["kind"] == until:
                return self.now()
            step = now["step"]
            now = self.pass_sound(step) if step["kind"] == "sound" else self.answer(step).json()
        raise AssertionError(f"still at {now} after {most} answers")


def wrong(check: dict) -> int:
    """An answer that fails the check of attention; it has as many options as the study has labels, ten at most."""
    return ("ABCDEFGHIJ".index(check["instructed"][0]) + 1) % len(check["question"]["options"])


class RealPerson(Person):
    """A participant over a real connection."""

    def __init__(self, base: str, link: str = "/"):
        super().__init__(None, link, httpx2.Client(base_url=base, timeout=30, follow_redirects=True))

    def __enter__(self) -> RealPerson:
        return self

    def __exit__(self, *_) -> None:
        self.http.close()


class ServerHere:
    """The study served in a thread of this process, which has everything imported; another process needs seconds."""

    def __init__(self, folder: Path, url: str):
        given = params.load(folder / "params.yaml")
        server.prepare_study(given, url, folder / "humans", folder / "out").close()
        settings = ServerSettings(str(folder / "params.yaml"), url, str(folder / "humans"))
        self.site = AppState(settings, given.human_study, (folder / "humans/secret").read_bytes(), PASSWORD)
        config = uvicorn.Config(
            participant.create_app(self.site), port=0, log_level="warning", timeout_graceful_shutdown=10
        )
        self.folder, self.server = folder, uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        for _ in range(600):
            if self.server.started:
                break
            assert self.thread.is_alive(), "the server does not start"
            time.sleep(0.05)  # waits for the server to listen, up to half a minute
        self.base = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.site.database.close()


class Server:
    """The study served as `make study` serves it, in a process of its own."""

    def __init__(self, folder: Path, url: str, workers: int = 1, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "synesthesia.human_study", "serve", "--port", str(self.port), "--database", url,
                        "--folder", "humans"]  # fmt: skip
        self.folder, self.process = folder, None
        self.start(workers)

    def start(self, workers: int = 1) -> None:
        environment = os.environ | {"SYNESTHESIA_ADMIN_PASSWORD": PASSWORD}
        self.log = open(self.folder / f"log-{self.port}", "a")  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(
            [*self.command, "--workers", str(workers)],
            cwd=self.folder,
            env=environment,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.base}/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, Path(self.log.name).read_text()
                time.sleep(0.1)  # waits for the server to listen, up to a minute
        raise AssertionError("the server does not start: " + Path(self.log.name).read_text())

    def kill(self) -> None:
        """As a power cut does: its workers die with it. Killed alone it would leave them behind."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        self.log.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
