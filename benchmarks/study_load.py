"""200 simulated participants in the human study at once: how long an answer takes, and whether one is lost.

Serves a study of its own in a temporary folder, marked simulated, on SQLite and (where PostgreSQL's programs are
installed, or --postgresql names a server) on PostgreSQL, with one server process and with two. Participants answer six
seconds after a clip has loaded, on average; people take longer, as a clip lasts ten. The clients share the processors
with the server.

    python benchmarks/study_load.py
    python benchmarks/study_load.py --think 2          # three times that pace
    python benchmarks/study_load.py --postgresql postgresql+psycopg://user@host/an_empty_database
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from synesthesia import config, schemas
from synesthesia.data import store
from synesthesia.human_study import simulation
from synesthesia.human_study.db import connection as database
from synesthesia.human_study.db import temporary_postgres
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.web import security
from synesthesia.human_study.web import server as serve

ROOT = Path(__file__).parents[1]
LABELS, CLIPS = 20, 6
AIM = 0.2  # s, for 95 % of answers


def make(out: Path) -> None:
    """A store of ten-second clips, questions and nothing else: noise and grey are as heavy as any clip."""
    random = np.random.default_rng(0)
    rows, questions = [], []
    labels = [f"label {n:02d}" for n in range(LABELS)]
    with store.StoreWriter(out / "curate/store", 256) as writer:
        for number, label in enumerate(labels):
            for index in range(CLIPS + 1):
                split, clip = ("analysis" if index < CLIPS else "finetune"), f"c{number:02d}{index}_000000"
                audio = np.round(3000 * random.standard_normal(160000)).astype(np.int16)
                shard, row = writer.add(clip, audio, [_picture(random) for _ in range(10)])
                rows.append({"clip_id": clip, "video_id": clip[:-7], "dataset": "vggsound", "labels": [label],
                             "split": split, "shard": shard, "row": row})  # fmt: skip
                options = [label, *[x for x in labels if x != label][:9]]
                questions.append({"question_id": f"{clip}-q", "clip_id": clip, "split": split, "options": options,
                                  "target": 0})  # fmt: skip
    for name, schema, data in (("curate/clips", schemas.CLIP, rows), ("make_questions/questions", schemas.QUESTION, questions)):
        schemas.write(schemas.from_rows(data, schema, name), out / f"{name}.parquet", schema)


def _picture(random: np.random.Generator) -> bytes:
    coarse = Image.fromarray(random.integers(0, 255, (8, 10, 3), np.uint8)).resize((112, 84))
    buffer = io.BytesIO()
    coarse.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def run(name: str, url: str, folder: Path, given: config.Config, workers: int, options: argparse.Namespace) -> bool:
    """One server, one crowd, one line; whether nothing was lost."""
    serve.prepare_study(given, url, folder / "humans", folder / "out", is_simulated=True).close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "synesthesia.human_study", "serve", "--simulated", "--port", str(port), "--workers",
               str(workers), "--database", url]  # fmt: skip
    environment = os.environ | {"SYNESTHESIA_ADMIN_PASSWORD": security.generate_password()}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, folder / "log")
        began = time.perf_counter()
        outcome = asyncio.run(simulation.run_load(f"http://127.0.0.1:{port}", options.participants, options.think))
        wall = time.perf_counter() - began
    finally:
        server.terminate()
        server.wait(30)
    opened = database.Database(url)
    with opened.read() as connection:
        rows = load_completed_trials(connection)
    opened.close()
    lost, double = outcome.n_confirmed - len(rows), len(rows) - len({r.trial for r in rows})
    p50, p95, p99 = (1000 * np.quantile(outcome.latencies["answer"], q) for q in (0.5, 0.95, 0.99))
    stimulus = 1000 * np.quantile(outcome.latencies["stimulus"], 0.95)
    joined = 1000 * np.quantile(outcome.latencies["join"], 0.95)
    rate = len(outcome.latencies["answer"]) / wall
    print(f"{name:24s} {outcome.n_finished:4d} {rate:9.1f} {p50:8.1f} {p95:8.1f} {p99:8.1f} "
          f"{stimulus:12.1f} {joined:9.1f} {len(rows):8d} {lost:5d} {double:6d} {outcome.n_retries:7d}",
          flush=True)  # fmt: skip
    if p95 > 1000 * AIM:
        print(f"  above the aim of {1000 * AIM:.0f} ms")
    return not lost and not double and outcome.n_finished == options.participants


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"the server does not start:\n{log.read_text()}")


def main() -> None:
    """Measure and print; exit code 1 where an answer was lost or counted twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=200, help="at once (default: %(default)s)")
    parser.add_argument(
        "--think", type=float, default=6.0, help="seconds between clip and answer (default: %(default)s)"
    )
    parser.add_argument("--trials", type=int, default=9, help="a participant, of 3 blocks (default: %(default)s)")
    parser.add_argument("--postgresql", metavar="URL", help="an empty database to use; default: a server of its own")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers it started end with it
    judgements = -(-options.participants * options.trials // (3 * LABELS * CLIPS)) + 1
    changes = {"trials": options.trials, "judgements": judgements, "labels": [f"label {n:02d}" for n in range(LABELS)],
               "clips_a_label": None, "consent": str(ROOT / "humans/consent.md"), "joins_an_hour": 100_000}  # fmt: skip
    given = config.load(ROOT / "params/embedded.yaml")
    given = given.model_copy(
        update={"human_study": config.HumanStudyConfig.model_validate(given.human_study.model_dump() | changes)}
    )
    good = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-load-")))
        make(folder / "out")
        (folder / "params.yaml").write_text(yaml.safe_dump(given.model_dump()))
        places = [("SQLite (WAL)", lambda n: f"sqlite:///{folder}/humans/simulated{n}.sqlite")]
        if options.postgresql:
            places.append(("PostgreSQL", lambda n: options.postgresql))
        elif temporary_postgres.find_server_binaries():
            server = stack.enter_context(temporary_postgres.temporary_server())
            places.append(("PostgreSQL", lambda n: _new(server, f"simulated{n}")))
        else:
            print("PostgreSQL is left out: its programs are not installed (Debian: apt-get install postgresql)")
        asked = f"{options.participants} simulated participants, {options.think:g} s to think"
        print(f"{asked}, {os.cpu_count()} processors; times in ms")
        print(f"{'':24s} {'done':>4s} {'answers/s':>9s} {'p50':>8s} {'p95':>8s} {'p99':>8s} {'stimulus p95':>12s} "
              f"{'join p95':>9s} {'trials':>8s} {'lost':>5s} {'double':>6s} {'retries':>7s}")  # fmt: skip
        for name, url in places:
            for workers in (1,) if options.postgresql and name == "PostgreSQL" else (1, 2):
                good &= run(
                    f"{name}, {workers} process{'es' * (workers > 1)}", url(workers), folder, given, workers, options
                )
    sys.exit(0 if good else 1)


def _new(server: str, name: str) -> str:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


if __name__ == "__main__":
    main()
