"""Make the documentation's pictures from a finished embedded study: figures, and screenshots of its pages.

Needs Chromium (Debian: apt-get install chromium) and the outputs of `make`. The human study is served to simulated
participants, from a temporary folder.

Examples:
  python scripts/make_images.py
  python scripts/make_images.py --only report
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES_DIR = ROOT / "docs/images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
VIEW = {"width": 1280, "height": 800}
PASSWORD = "for the pictures alone"


def copy_figures() -> None:
    """Copy the two figures that the README and the docs show."""
    for name in ("gap", "figure3"):
        shutil.copy(ROOT / f"out/report/figures/{name}.png", IMAGES_DIR / f"{name}.png")


def screenshot_report(browser: Browser) -> None:
    """Show the top of the report: headline numbers and Table 1."""
    page = browser.new_page(viewport=VIEW)
    page.goto((ROOT / "out/report/index.html").as_uri())
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES_DIR / "report.png")


def screenshot_mlflow(browser: Browser) -> None:
    """Show MLflow's list of runs and a comparison of the students' runs."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri",
               "sqlite:///mlruns/mlflow.db", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(server, f"{url}/health")
        from mlflow import MlflowClient

        client = MlflowClient(url)
        experiment = max(client.search_experiments(), key=lambda e: e.last_update_time or 0)
        runs = client.search_runs(
            [experiment.experiment_id],
            "tags.mlflow.runName LIKE 'evaluate_students@%' AND attributes.status = 'FINISHED'",
            max_results=7,
        )
        page = browser.new_page(viewport=VIEW)
        show(page, f"{url}/#/experiments/{experiment.experiment_id}/runs", "evaluate_students@", "mlflow-runs.png")
        identifiers = "%2C".join(f"%22{run.info.run_id}%22" for run in runs)
        experiments = f"experiments=%5B%22{experiment.experiment_id}%22%5D"
        show(
            page,
            f"{url}/#/compare-runs?runs=%5B{identifiers}%5D&{experiments}",
            "Parallel Coordinates Plot",
            "mlflow-compare.png",
        )
    finally:
        server.terminate()
        server.wait()


def screenshot_human_study(browser: Browser) -> None:
    """Show a trial, and the researcher's page after some simulated participants."""
    from synesthesia.human_study import simulation

    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        database_url = f"sqlite:///{folder}/simulated.sqlite"
        command = [sys.executable, "-m", "synesthesia.human_study", "serve", "--simulated", "--port", str(port),
                   "--folder", folder, "--database", database_url]  # fmt: skip
        environment = {**os.environ, "SYNESTHESIA_ADMIN_PASSWORD": PASSWORD}
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_server(server, f"{url}/health")
            page = browser.new_page(viewport=VIEW)
            page.goto(url)
            go_to_trial(page, database_url)
            page.screenshot(path=IMAGES_DIR / "human-study-trial.png")
            simulated = simulation.run_load(url, n_participants=8, think_time=0.0, arrival_seconds=1.0)
            with ThreadPoolExecutor(1) as pool:  # Playwright's own event loop runs in this thread
                pool.submit(asyncio.run, simulated).result()
            page = browser.new_page(viewport=VIEW)
            page.goto(f"{url}/admin")
            page.fill("#password", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_selector(".cards")
            page.screenshot(path=IMAGES_DIR / "human-study-researcher.png")
        finally:
            server.terminate()
            server.wait()


def go_to_trial(page: Page, database_url: str) -> None:
    """Consent and answer what comes before the first trial, by keyboard; the page is the study's only participant."""
    option = "[data-options] button:not([disabled])"
    page.focus("#consent-checkbox")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url("**/study")
    for _ in range(100):
        step = page.wait_for_function("() => document.body?.dataset.step").json_value()
        kind = step.split()[-1]
        if kind == "trial":
            page.wait_for_selector(option)
            return
        if kind == "sound_check":
            page.keyboard.press("Space")
            page.wait_for_selector("[data-count]:not([disabled])")
            page.keyboard.press(str(read_num_tones(database_url, int(step.split()[0]))))
            page.wait_for_function("step => document.body.dataset.step !== step", arg=step)
            continue
        if kind == "practice":
            page.wait_for_selector(option)
            page.keyboard.press("A")
            page.wait_for_selector("[data-feedback]:not([hidden])")
        else:
            page.wait_for_selector("[data-continue]")
        page.keyboard.press("Enter")
        page.wait_for_function("step => document.body.dataset.step !== step", arg=step)
    sys.exit("no trial was reached")


def read_num_tones(database_url: str, step: int) -> int:
    """Read from the database how many tones the sound check plays."""
    from sqlalchemy import select

    from synesthesia.human_study.db.connection import Database
    from synesthesia.human_study.db.schema import STEP

    database = Database(database_url)
    with database.read() as connection:
        detail = connection.execute(select(STEP.c.detail).where(STEP.c.number == step)).scalar_one()
    database.close()
    return json.loads(detail)["n_tones"]


def find_free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def show(page: Page, url: str, text: str, name: str) -> None:
    """Take a screenshot once the page shows a text of its data."""
    page.goto(url, wait_until="domcontentloaded")
    page.get_by_text(text).first.wait_for(timeout=120_000)
    page.wait_for_timeout(3000)  # transitions
    page.screenshot(path=IMAGES_DIR / name)


def wait_for_server(server: subprocess.Popen, url: str) -> None:
    """Wait up to two minutes until the server answers."""
    for _ in range(240):
        if server.poll() is not None:
            sys.exit("the server has exited: try `make ui` and `make human-study`")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"{url} does not answer")


def main() -> None:
    """Parse the command line and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("figures", "report", "mlflow", "human-study"), help="(default: all)")
    only = parser.parse_args().only
    if not (ROOT / "out/report/index.html").exists():
        sys.exit("out/report/index.html is missing: run `make` first")
    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        sys.exit("Chromium is missing (Debian: apt-get install chromium)")
    if only in (None, "figures"):
        copy_figures()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        if only in (None, "report"):
            screenshot_report(browser)
        if only in (None, "mlflow"):
            screenshot_mlflow(browser)
        if only in (None, "human-study"):
            screenshot_human_study(browser)
        browser.close()


if __name__ == "__main__":
    main()
