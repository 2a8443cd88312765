"""Simulated participants over real connections, for load tests: they answer at random, and only in databases marked so.

Each keeps one connection, loads its stimuli as a browser does, thinks for a while, answers; now and then it sends an
answer twice, or loses the connection before the reply and sends it again under the same key, as the page would.
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

DUPLICATE_RATE, DROP_RATE = 0.03, 0.02  # shares of answers


class SimulationError(RuntimeError):
    """The server is no simulation's, or answered what no participant should get."""


@dataclass
class LoadResult:
    """Seconds by kind of request, how many trials the server confirmed, and retries made."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    n_confirmed: int = 0
    n_finished: int = 0
    n_retries: int = 0


class Browser:
    """HTTP/1.1 over one kept connection, without the cost of a general client: the server has the processor."""

    def __init__(self, base_url: str):
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname, parts.port
        self.cookie, self.csrf_token = "", ""
        self._streams = None

    async def request(self, path: str, body: dict | None = None, drop_reply: bool = False) -> tuple[int, bytes]:
        """Status and body; with `drop`, the connection is cut as soon as the request is out."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
        head += f"Cookie: {self.cookie}\r\n" if self.cookie else ""
        if body is not None:
            head += (
                f"Content-Type: application/json\r\nX-Study-Token: {self.csrf_token}\r\nContent-Length: {len(data)}\r\n"
            )
        writer.write(head.encode() + b"\r\n" + data)
        if drop_reply:
            await writer.drain()
            self.close()
            return 0, b""
        header = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(re.search(r"(?i)content-length: (\d+)", header)[1])
        if found := re.search(r"(?i)set-cookie: (study_session=[^;]*)", header):
            self.cookie = found[1]
        return int(header[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        """Cut the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def simulate_participant(base_url: str, result: LoadResult, think_time: float, rng: random.Random) -> None:
    """One participant from consent to completion code; adds to `outcome`."""
    browser = Browser(base_url)

    async def timed(kind: str, path: str, body: dict | None = None) -> dict | bytes:
        began = time.perf_counter()
        status, data = await browser.request(path, body)
        result.latencies[kind].append(time.perf_counter() - began)
        if status != 200:
            raise SimulationError(f"{path} gave {status}: {data[:200]!r}")
        return data if kind in ("page", "stimulus") else json.loads(data)

    page = (await timed("page", "/")).decode()
    if "for simulated participants" not in page:
        raise SimulationError("this server holds a real study: simulated participants do not join it")
    browser.csrf_token = re.search(r'study-token" content="(\w+)"', page)[1]
    await timed("join", "/api/join", {"agreed": True})
    now, tried = await timed("now", "/api/now"), 2
    while now["state"] == "active":
        step = now["step"]
        if "stimulus" in step:
            await timed("stimulus", f"/stimuli/{step['stimulus']}")
        await asyncio.sleep(rng.uniform(0.5, 1.5) * think_time)
        body = {"number": step["number"], "key": f"{rng.getrandbits(128):032x}", **_draw_answer(step, rng)}
        if step["kind"] == "sound":
            tried = body["choice"] = tried + 1
        if rng.random() < DROP_RATE:
            await browser.request("/api/answer", body, drop_reply=True)
            result.n_retries += 1
        now = await timed("answer", "/api/answer", body)
        if rng.random() < DUPLICATE_RATE and now["status"] == "saved":
            again = await timed("answer", "/api/answer", body)
            result.n_retries += 1
            if again["status"] != "repeated":
                raise SimulationError(f"an answer sent twice was {again['status']}")
        if step["kind"] == "trial":
            result.n_confirmed += now["status"] in ("saved", "repeated")
    if now["state"] != "finished":
        raise SimulationError(f"a session ended as {now['state']}")
    result.n_finished += 1
    browser.close()


def _draw_answer(step: dict, rng: random.Random) -> dict:
    if step["kind"] == "headphones":
        return {"picks": list(tones.TARGET_INTERVALS)}
    if step["kind"] == "check":
        return {"choice": "ABCDEFGHIJ".index(step["instructed"][0]), "seconds": 3.0}
    if step["kind"] in ("trial", "practice"):
        return {
            "choice": rng.randrange(len(step["question"]["options"])),
            "seconds": round(rng.uniform(2, 12), 3),
        }
    return {"comment": "simulated"} if step["kind"] == "comments" else {}


async def run_load(
    base_url: str, n_participants: int, think_time: float, seed: int = 0, arrive: float = 10.0
) -> LoadResult:
    """`number` participants, who come within `arrive` seconds and are then there together."""
    outcome, chance = LoadResult(), random.Random(seed)

    async def one(late: float, own: random.Random) -> None:
        await asyncio.sleep(late)
        await simulate_participant(base_url, outcome, think_time, own)

    await asyncio.gather(
        *(one(chance.uniform(0, arrive), random.Random(chance.random())) for _ in range(n_participants))
    )
    return outcome
