"""Load test of the human study: latency of answers with simulated participants, and lost or duplicated answers.

Serves a study in a temporary folder, marked as simulated: on SQLite with one and with two server processes, or on the
database that --database names. Participants answer six seconds after a clip has loaded, on average; people take longer,
because a clip lasts ten seconds. Clients and server share the processors.

    python benchmarks/human_study_load.py
    python benchmarks/human_study_load.py --think 2          # three times the rate
    python benchmarks/human_study_load.py --database postgresql+psycopg://user@host/an_empty_database --workers 2
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
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from synesthesia import config, schemas
from synesthesia.data import store
from synesthesia.human_study import simulation
from synesthesia.human_study.db.completed import load_completed_trials
from synesthesia.human_study.db.connection import Database
from synesthesia.human_study.web import security, server

ROOT = Path(__file__).parents[1]
N_LABELS, CLIPS_PER_LABEL = 20, 6
TARGET_P95 = 0.2  # s, for answers


def make_outputs(out_dir: Path) -> None:
    """Write a store of ten-second clips and questions; noise compresses worse than real clips."""
    rng = np.random.default_rng(0)
    clips, questions = [], []
    labels = [f"label {n:02d}" for n in range(N_LABELS)]
    with store.StoreWriter(out_dir / "curate/store", 256) as writer:
        for number, label in enumerate(labels):
            for index in range(CLIPS_PER_LABEL + 1):
                split = "analysis" if index < CLIPS_PER_LABEL else "finetune"
                clip_id = f"c{number:02d}{index}_000000"
                audio = np.round(3000 * rng.standard_normal(160000)).astype(np.int16)
                shard, row = writer.add(clip_id, audio, [_make_jpeg(rng) for _ in range(10)])
                clips.append({"clip_id": clip_id, "video_id": clip_id[:-7], "dataset": "vggsound", "labels": [label],
                              "split": split, "shard": shard, "row": row})  # fmt: skip
                options = [label, *[x for x in labels if x != label][:9]]
                questions.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": split,
                                  "options": options, "target": 0})  # fmt: skip
    for name, schema, rows in (
        ("curate/clips", schemas.CLIP, clips),
        ("make_questions/questions", schemas.QUESTION, questions),
    ):
        schemas.write(schemas.from_rows(rows, schema, name), out_dir / f"{name}.parquet", schema)


def _make_jpeg(rng: np.random.Generator) -> bytes:
    image = Image.fromarray(rng.integers(0, 255, (8, 10, 3), np.uint8)).resize((112, 84))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def make_config(options: argparse.Namespace) -> config.Config:
    """Return the embedded preset with enough trials for all participants."""
    n_trials = options.participants * options.trials
    changes = {"trials_per_participant": options.trials,
               "responses_per_clip": -(-n_trials // (3 * N_LABELS * CLIPS_PER_LABEL)) + 1,
               "labels": [f"label {n:02d}" for n in range(N_LABELS)], "clips_per_label": None,
               "consent": str(ROOT / "humans/consent.md"), "joins_per_hour": 100_000}  # fmt: skip
    preset = config.load(ROOT / "params/embedded.yaml")
    human_study = config.HumanStudyConfig.model_validate(preset.human_study.model_dump() | changes)
    return preset.model_copy(update={"human_study": human_study})


def run(name: str, url: str, folder: Path, study: config.Config, workers: int, options: argparse.Namespace) -> bool:
    """Run the load on one server and print a row; return whether no answer was lost or counted twice."""
    server.prepare_study(study, url, folder / "humans", folder / "out", is_simulated=True).close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "synesthesia.human_study", "serve", "--simulated", "--port", str(port),
               "--workers", str(workers), "--database", url]  # fmt: skip
    environment = os.environ | {"SYNESTHESIA_ADMIN_PASSWORD": security.generate_password()}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health", process, folder / "log")
        start = time.perf_counter()
        result = asyncio.run(simulation.run_load(f"http://127.0.0.1:{port}", options.participants, options.think))
        seconds = time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(30)
    database = Database(url)
    with database.read() as connection:
        rows = load_completed_trials(connection)
    database.close()
    n_lost, n_double = result.n_confirmed - len(rows), len(rows) - len({r.trial for r in rows})
    p50, p95, p99 = (1000 * np.quantile(result.latencies["answer"], q) for q in (0.5, 0.95, 0.99))
    stimulus_p95 = 1000 * np.quantile(result.latencies["stimulus"], 0.95)
    join_p95 = 1000 * np.quantile(result.latencies["join"], 0.95)
    rate = len(result.latencies["answer"]) / seconds
    print(f"{name:24s} {result.n_finished:4d} {rate:9.1f} {p50:8.1f} {p95:8.1f} {p99:8.1f} "
          f"{stimulus_p95:12.1f} {join_p95:9.1f} {len(rows):8d} {n_lost:5d} {n_double:6d} {result.n_retries:7d}",
          flush=True)  # fmt: skip
    if p95 > 1000 * TARGET_P95:
        print(f"  p95 is above the target of {1000 * TARGET_P95:.0f} ms")
    return not n_lost and not n_double and result.n_finished == options.participants


def _wait_until_ready(url: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"the server does not start:\n{log.read_text()}")


def main() -> None:
    """Measure and print; exit with code 1 if an answer was lost or counted twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=200, help="at the same time (default: %(default)s)")
    parser.add_argument("--think", type=float, default=6.0,
                        help="mean seconds between clip and answer (default: %(default)s)")  # fmt: skip
    parser.add_argument("--trials", type=int, default=9,
                        help="per participant, a multiple of 3 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--database", metavar="URL", help="an empty database (default: SQLite in a temporary folder)")
    parser.add_argument("--workers", type=int, help="server processes (default: 1 and 2; with --database 1)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops the server
    study = make_config(options)
    is_ok = True
    with tempfile.TemporaryDirectory(prefix="human-study-load-") as name:
        folder = Path(name)
        make_outputs(folder / "out")
        (folder / "params.yaml").write_text(yaml.safe_dump(study.model_dump()))
        print(f"{options.participants} simulated participants, {options.think:g} s to think, {os.cpu_count()} "
              "processors; times in ms")  # fmt: skip
        print(f"{'':24s} {'done':>4s} {'answers/s':>9s} {'p50':>8s} {'p95':>8s} {'p99':>8s} {'stimulus p95':>12s} "
              f"{'join p95':>9s} {'trials':>8s} {'lost':>5s} {'double':>6s} {'retries':>7s}")  # fmt: skip
        default_workers = (1,) if options.database else (1, 2)
        for workers in (options.workers,) if options.workers else default_workers:
            url = options.database or f"sqlite:///{folder}/humans/simulated{workers}.sqlite"
            label = f"{'database' if options.database else 'SQLite (WAL)'}, {workers} process{'es' * (workers > 1)}"
            is_ok &= run(label, url, folder, study, workers, options)
    sys.exit(0 if is_ok else 1)


if __name__ == "__main__":
    main()
