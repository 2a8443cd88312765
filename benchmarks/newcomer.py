"""What a newcomer meets: a fresh clone of HEAD, the README's commands, their time and memory, and the same outs twice.

Clones this repository's last commit into an empty folder and runs there, one after the other: `make install`, `make`,
`make` again with nothing changed, and `make again` (every stage by force; it fails where any out changes). Memory is
the proportional set size (PSS: shared pages counted once) of all processes of a step together, sampled each half
second with psutil; its highest sum is printed. Use an idle machine for figures to report.

A rented machine is not as fast in every hour. `reference, s` is what the same fixed work (`reference`: one thread,
about a second, while nothing else of ours runs) took right before and right after the step: seconds of two hours
compare where their references do, and roughly by their ratio where they do not.

examples:
  python benchmarks/newcomer.py                        about 25 minutes on two cores
  python benchmarks/newcomer.py --steps install make   without the second runs
  python benchmarks/newcomer.py --folder /tmp/clone    keep the clone
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
STEPS = {
    "install": ["make", "install"],
    "make": ["make"],
    "unchanged": ["make"],
    "again": ["make", "again"],
    "test": ["make", "test"],
}


def reference() -> float:
    """Seconds of a fixed work in plain Python: a loop that stays in the processor, and a sort that goes to memory."""
    start, total = time.monotonic(), 0
    for number in range(8_000_000):
        total += number & 3
    numbers = list(range(500_000))
    random.Random(0).shuffle(numbers)
    numbers.sort()
    return time.monotonic() - start


def held(process: psutil.Process) -> int:
    """Bytes (PSS) that a process and all below it hold now; those that ended meanwhile count nothing."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def step(command: list[str], folder: Path) -> tuple[float, int]:
    """Run a command in `folder`; its seconds and the most bytes it held. Raises CalledProcessError."""
    start, peak, ended = time.monotonic(), 0, threading.Event()
    # The caller's interpreter must not stand in for the clone's own.
    environment = {
        k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL")
    }
    child = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr)

    def watch() -> None:
        nonlocal peak
        process = psutil.Process(child.pid)
        while not ended.wait(0.5):
            peak = max(peak, held(process))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = child.wait()
    ended.set()
    watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return time.monotonic() - start, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=["install", "make", "unchanged", "again"])
    parser.add_argument("--folder", type=Path, help="an absent folder for the clone (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "synesthesia"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        print("| step | command | seconds | peak memory | reference, s |\n|---|---|---|---|---|", flush=True)
        before = reference()
        for name in given.steps:
            seconds, peak = step(STEPS[name], folder)
            after = reference()
            row = (name, f"`{' '.join(STEPS[name])}`", f"{seconds:.1f}", f"{peak / 2**30:.2f} GiB")
            print(f"| {' | '.join(row)} | {before:.2f}, then {after:.2f} |", flush=True)
            before = after


if __name__ == "__main__":
    main()
