"""Make the documentation's pictures from a finished embedded study: figures, and screenshots of the report and MLflow.

Needs Chromium (Debian: apt-get install chromium) and the outputs of `make`. The pictures of the human study come from
its browser tests; `make images` runs both.

Examples:
  python scripts/make_images.py
  python scripts/make_images.py --only report
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES_DIR = ROOT / "docs/images"
FLAGS = ["--no-sandbox", "--disable-gpu"]
VIEW = {"width": 1280, "height": 800}


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
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--backend-store-uri",
               "sqlite:///mlruns/mlflow.db", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(server, url)
        from mlflow import MlflowClient

        client = MlflowClient(url)
        experiment = max(client.search_experiments(), key=lambda e: e.last_update_time or 0)
        runs = client.search_runs(
            [experiment.experiment_id],
            "tags.mlflow.runName LIKE 'evaluate_students@%' AND attributes.status = 'FINISHED'",
            max_results=7,
        )
        page = browser.new_page(viewport=VIEW)
        show(page, f"{url}/#/experiments/{experiment.experiment_id}/runs", "mlflow-runs.png")
        identifiers = "%2C".join(f"%22{run.info.run_id}%22" for run in runs)
        experiments = f"experiments=%5B%22{experiment.experiment_id}%22%5D"
        show(page, f"{url}/#/compare-runs?runs=%5B{identifiers}%5D&{experiments}", "mlflow-compare.png")
    finally:
        server.terminate()
        server.wait()


def show(page: Page, url: str, name: str) -> None:
    """Take a screenshot once the page has loaded its data."""
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)  # transitions
    page.screenshot(path=IMAGES_DIR / name)


def wait_for_server(server: subprocess.Popen, url: str) -> None:
    """Wait up to two minutes until the server answers."""
    for _ in range(240):
        if server.poll() is not None:
            sys.exit("MLflow's server has exited: try `make ui`")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit("MLflow's server does not answer")


def main() -> None:
    """Parse the command line and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("figures", "report", "mlflow"), help="(default: all)")
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
        browser.close()


if __name__ == "__main__":
    main()
