"""Time and memory of the README's commands in a fresh clone of HEAD.

Clones the last commit of this repository into an empty folder and runs there, one after the other: `make install`,
`make`, `make` again with nothing changed, and `make verify` (force-runs every stage; fails if an output changes).
Memory is the proportional set size (PSS: shared pages count once) of all processes of a step, sampled every half
second with psutil; the table has the maximum of the sum. Use an idle machine for reported figures.

The speed of a rented machine varies over the day. `reference, s` is the time of a fixed computation
(`time_reference`: one thread, about a second, while no step is running) right before and after the step. Times from
different hours are comparable if their references are equal, and otherwise only roughly, after scaling by their ratio.

examples:
  python benchmarks/fresh_clone.py                        about 25 minutes on two cores
  python benchmarks/fresh_clone.py --steps install make   without the repeated runs
  python benchmarks/fresh_clone.py --folder /tmp/clone    keep the clone
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
    "verify": ["make", "verify"],
    "test": ["make", "test"],
}


def time_reference() -> float:
    """Return the seconds of a fixed computation in Python: a loop in the CPU's cache, and a sort in main memory."""
    start, total = time.monotonic(), 0
    for number in range(8_000_000):
        total += number & 3
    numbers = list(range(500_000))
    random.Random(0).shuffle(numbers)
    numbers.sort()
    return time.monotonic() - start


def memory_bytes(process: psutil.Process) -> int:
    """Return the PSS of a process and its descendants; processes that have just exited count 0."""
    total = 0
    try:
        processes = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in processes:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def run_step(command: list[str], folder: Path) -> tuple[float, int]:
    """Run a command.

    Args:
        command: Program and arguments.
        folder: Working directory.

    Returns:
        Seconds, and peak memory in bytes.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    start, peak, is_done = time.monotonic(), 0, threading.Event()
    # the clone must use its own interpreter, not the caller's
    environment = {
        k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL")
    }
    child = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr)

    def sample_memory() -> None:
        nonlocal peak
        process = psutil.Process(child.pid)
        while not is_done.wait(0.5):
            peak = max(peak, memory_bytes(process))

    sampler = threading.Thread(target=sample_memory, daemon=True)
    sampler.start()
    returncode = child.wait()
    is_done.set()
    sampler.join()
    if returncode:
        raise subprocess.CalledProcessError(returncode, command)
    return time.monotonic() - start, peak


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=["install", "make", "unchanged", "verify"])
    parser.add_argument("--folder", type=Path, help="a new folder for the clone (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = args.folder or Path(tmp) / "synesthesia"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        print("| step | command | seconds | peak memory | reference, s |\n|---|---|---|---|---|", flush=True)
        before = time_reference()
        for name in args.steps:
            seconds, peak = run_step(STEPS[name], folder)
            after = time_reference()
            cells = (name, f"`{' '.join(STEPS[name])}`", f"{seconds:.1f}", f"{peak / 2**30:.2f} GiB")
            print(f"| {' | '.join(cells)} | {before:.2f}, then {after:.2f} |", flush=True)
            before = after


if __name__ == "__main__":
    main()
