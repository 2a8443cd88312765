"""HTTP clients that act as participants, and servers of the human study in a thread or a process."""

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

from synesthesia import config
from synesthesia.human_study.stimuli import tones
from synesthesia.human_study.web import participant, server
from synesthesia.human_study.web.app_state import AppState, ServerSettings
from synesthesia.schemas import LETTERS

PASSWORD = "a-long-and-quiet-17"


class Participant:
    """HTTP client of one participant: cookies, CSRF token, and answers with idempotency keys."""

    def __init__(self, app, link: str = "/", http=None):
        self.http = http or TestClient(app, base_url="http://testserver")
        page = self.http.get(link)
        self.csrf_token = page.text.partition('name="csrf-token" content="')[2].partition('"')[0]
        self._keys = (f"{n:032x}" for n in itertools.count(id(self)))

    def post(self, path: str, body: dict, **headers):
        return self.http.post(path, json=body, headers={"X-CSRF-Token": self.csrf_token} | headers)

    def find_id(self, app_state: AppState) -> str:
        """Return the participant's id in the database of the study."""
        value = app_state.signer.unsign(self.http.cookies["study_session"], "session", 3600)
        return app_state.sessions.find_participant(hashlib.sha256(value.partition("|")[0].encode()).digest())

    def join(self):
        return self.post("/api/join", {"has_consented": True})

    def session(self) -> dict:
        return self.http.get("/api/session").json()

    def answer(self, step: dict, key: str | None = None, **changes):
        """Answer a step validly; `key` is the idempotency key, `changes` are other fields of the body."""
        body = {"number": step["number"], "idempotency_key": key or next(self._keys)}
        return self.post("/api/answer", body | self.default_answer(step) | changes)

    @staticmethod
    def default_answer(step: dict) -> dict:
        """Return a valid answer, which is correct in checks that must be passed."""
        if step["kind"] in ("trial", "practice"):
            return {"choice": 3, "seconds": 2.5}
        if step["kind"] == "attention_check":
            return {"choice": LETTERS.index(step["required_option"][0]), "seconds": 2.0}
        if step["kind"] == "headphone_check":
            return {"picks": list(tones.TARGET_INTERVALS)}
        return {"comment": "fine"} if step["kind"] == "comments" else {}

    def pass_sound_check(self, step: dict) -> dict:
        """Try numbers of tones until one is correct."""
        for choice in (3, 4, 5):
            reply = self.answer(step, choice=choice).json()
            if reply["status"] != "retry":
                return reply
        raise AssertionError("no number of tones is correct")

    def answer_until(self, kind: str | None = None, max_answers: int = 400) -> dict:
        """Answer up to a step of a kind, or to the end; return the session there."""
        session = self.session()
        for _ in range(max_answers):
            if session["state"] != "active" or session["step"]["kind"] == kind:
                return self.session()
            step = session["step"]
            is_sound_check = step["kind"] == "sound_check"
            session = self.pass_sound_check(step) if is_sound_check else self.answer(step).json()
        raise AssertionError(f"still at {session} after {max_answers} answers")


def wrong_choice(check: dict) -> int:
    """Return a choice that fails an attention check, which has one option per label and at most ten."""
    return (LETTERS.index(check["required_option"][0]) + 1) % len(check["question"]["options"])


class RemoteParticipant(Participant):
    """A participant over a network connection."""

    def __init__(self, base_url: str, link: str = "/"):
        super().__init__(None, link, httpx2.Client(base_url=base_url, timeout=30, follow_redirects=True))

    def __enter__(self) -> RemoteParticipant:
        return self

    def __exit__(self, *_) -> None:
        self.http.close()


class ThreadServer:
    """The study served in a thread of this process, which avoids the import time of another process."""

    def __init__(self, folder: Path, url: str):
        pipeline_config = config.load(folder / "params.yaml")
        server.prepare_study(pipeline_config, url, folder / "humans", folder / "out").close()
        settings = ServerSettings(str(folder / "params.yaml"), url, str(folder / "humans"))
        secret = (folder / "humans/secret").read_bytes()
        self.app_state = AppState(settings, pipeline_config.human_study, secret, PASSWORD)
        app = participant.create_app(self.app_state)
        self.folder = folder
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=10))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        for _ in range(600):
            if self.server.started:
                break
            assert self.thread.is_alive(), "the server does not start"
            time.sleep(0.05)  # at most 30 s until the server listens
        self.base_url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.app_state.database.close()


class ProcessServer:
    """The study served in a separate process by the command line, as by `make human-study`."""

    def __init__(self, folder: Path, url: str, workers: int = 1):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "synesthesia.human_study", "serve", "--port", str(self.port),
                        "--database", url, "--folder", "humans"]  # fmt: skip
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
                urllib.request.urlopen(f"{self.base_url}/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, Path(self.log.name).read_text()
                time.sleep(0.1)  # at most a minute until the server listens
        raise AssertionError("the server does not start: " + Path(self.log.name).read_text())

    def kill(self) -> None:
        """Kill the server and its workers without cleanup."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        self.log.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
