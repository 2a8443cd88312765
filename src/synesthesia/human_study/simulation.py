"""Simulated participants for load tests: they answer at random, over real connections, in databases marked simulated.

Each keeps one connection, loads its stimuli as a browser does, thinks, and answers. Sometimes it sends an answer twice,
or loses the connection before the reply and sends the answer again with the same key, as the page would.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from synesthesia.human_study.stimuli import tones
from synesthesia.schemas import LETTERS

DUPLICATE_RATE, DROP_RATE = 0.03, 0.02  # fractions of answers


class SimulationError(RuntimeError):
    """The server is not for simulated participants, or sent an unexpected reply."""


@dataclass
class LoadResult:
    """Result of a load test.

    Attributes:
        latencies: Seconds by kind of request.
        n_confirmed: Number of trials that the server confirmed.
        n_finished: Number of participants who reached the completion code.
        n_retries: Number of answers sent again.
    """

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    n_confirmed: int = 0
    n_finished: int = 0
    n_retries: int = 0


class Browser:
    """Minimal HTTP/1.1 client over one keep-alive connection; leaves the processor to the server.

    Args:
        base_url: URL of the server.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname, parts.port
        self.cookie, self.csrf_token = "", ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, path: str, body: dict | None = None, drop_reply: bool = False) -> tuple[int, bytes]:
        """Send a request.

        Args:
            path: Path of the URL.
            body: JSON body of a POST request; None for GET.
            drop_reply: Whether to cut the connection as soon as the request is sent.

        Returns:
            Status and body; (0, b"") with `drop_reply`.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
        head += f"Cookie: {self.cookie}\r\n" if self.cookie else ""
        if body is not None:
            head += f"Content-Type: application/json\r\nX-CSRF-Token: {self.csrf_token}\r\n"
            head += f"Content-Length: {len(data)}\r\n"
        writer.write(head.encode() + b"\r\n" + data)
        if drop_reply:
            await writer.drain()
            self.close()
            return 0, b""
        header = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(_search(r"(?i)content-length: (\d+)", header))
        if match := re.search(r"(?i)set-cookie: (study_session=[^;]*)", header):
            self.cookie = match[1]
        return int(header[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        """Cut the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _search(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SimulationError(f"the reply has no {pattern}: {text[:200]!r}")
    return match[1]


async def simulate_participant(base_url: str, result: LoadResult, think_time: float, rng: random.Random) -> None:
    """Simulate a participant from consent to completion code.

    Args:
        base_url: URL of the server.
        result: Result to add to.
        think_time: Mean time between clip and answer in seconds.
        rng: Random generator.

    Raises:
        SimulationError: The server is not for simulated participants, or sent an unexpected reply.
    """
    browser = Browser(base_url)

    async def send(kind: str, path: str, body: dict | None = None) -> bytes:
        start = time.perf_counter()
        status, data = await browser.request(path, body)
        result.latencies[kind].append(time.perf_counter() - start)
        if status != 200:
            raise SimulationError(f"{path} gave {status}: {data[:200]!r}")
        return data

    async def send_json(kind: str, path: str, body: dict | None = None) -> dict:
        return json.loads(await send(kind, path, body))

    page = (await send("page", "/")).decode()
    if "for simulated participants" not in page:
        raise SimulationError("this server holds a real study: simulated participants cannot join")
    browser.csrf_token = _search(r'name="csrf-token" content="(\w+)"', page)
    await send("join", "/api/join", {"has_consented": True})
    session, n_tones = await send_json("session", "/api/session"), 2
    while session["state"] == "active":
        step = session["step"]
        if "stimulus" in step:
            await send("stimulus", f"/stimuli/{step['stimulus']}")
        await asyncio.sleep(rng.uniform(0.5, 1.5) * think_time)
        key = f"{rng.getrandbits(128):032x}"
        body = {"number": step["number"], "idempotency_key": key, **_draw_answer(step, rng)}
        if step["kind"] == "sound_check":
            n_tones = body["choice"] = n_tones + 1
        if rng.random() < DROP_RATE:
            await browser.request("/api/answer", body, drop_reply=True)
            result.n_retries += 1
        session = await send_json("answer", "/api/answer", body)
        if rng.random() < DUPLICATE_RATE and session["status"] == "saved":
            duplicate = await send_json("answer", "/api/answer", body)
            result.n_retries += 1
            if duplicate["status"] != "duplicate":
                raise SimulationError(f"an answer sent twice has status {duplicate['status']}")
        if step["kind"] == "trial":
            result.n_confirmed += session["status"] in ("saved", "duplicate")
    if session["state"] != "finished":
        raise SimulationError(f"a session ended in state {session['state']}")
    result.n_finished += 1
    browser.close()


def _draw_answer(step: dict, rng: random.Random) -> dict:
    if step["kind"] == "headphone_check":
        return {"picks": list(tones.TARGET_INTERVALS)}
    if step["kind"] == "attention_check":
        return {"choice": LETTERS.index(step["required_option"][0]), "seconds": 3.0}
    if step["kind"] in ("trial", "practice"):
        return {
            "choice": rng.randrange(len(step["question"]["options"])),
            "seconds": round(rng.uniform(2, 12), 3),
        }
    return {"comment": "simulated"} if step["kind"] == "comments" else {}


async def run_load(
    base_url: str, n_participants: int, think_time: float, seed: int = 0, arrival_seconds: float = 10.0
) -> LoadResult:
    """Simulate participants who are active at the same time.

    Args:
        base_url: URL of the server.
        n_participants: Number of participants.
        think_time: Mean time between clip and answer in seconds.
        seed: Random seed.
        arrival_seconds: Window in seconds within which participants arrive.

    Returns:
        The result.
    """
    result, rng = LoadResult(), random.Random(seed)

    async def arrive(delay: float, participant_rng: random.Random) -> None:
        await asyncio.sleep(delay)
        await simulate_participant(base_url, result, think_time, participant_rng)

    await asyncio.gather(
        *(arrive(rng.uniform(0, arrival_seconds), random.Random(rng.random())) for _ in range(n_participants))
    )
    return result
