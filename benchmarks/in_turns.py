"""Versions of the code in turns on one card: clips a second, and joules a clip, of the paper's LLMs.

A few percent do not show from one run to the next: cards differ, and each slows down as it warms. Here every version
has a process with the model in memory, and they take turns of some seconds on the same card. The rows are gpu.py's.

examples:
  git worktree add ../before HEAD~1
  python benchmarks/in_turns.py ../before .                               learning by ear, eight clips a step
  python benchmarks/in_turns.py ../before . --model qwen2-vl --task answering --turns 9
  python benchmarks/in_turns.py . . --small --turns 3                     small models on any machine: does it run?
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 4.0  # of a turn, at least


def serve(clips: int, step: Callable[[], object]) -> None:
    """At every line that comes: warm up, say so, and when the turn is over say clips and seconds."""
    import torch

    def waited() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def say(what: object) -> None:
        os.write(RESULTS, json.dumps(what).encode() + b"\n")

    say("ready")
    for _ in sys.stdin:
        for _ in range(3):
            start = waited()
            step()
            took = waited() - start
        times = -(-SECONDS // took)
        say("begins")
        start = waited()
        for _ in range(int(times)):
            step()
        say([clips * times, waited() - start])


def work(tree: str, model: str, task: str, small: bool) -> None:
    """One version's process: its own source and its own gpu.py."""
    sys.path[0] = str(Path(tree) / "benchmarks")
    import gpu

    if small:
        from tools.noise import lesson, prompts
        from tools.plain import small_model

        from synesthesia.distillation import adapters

        student = small_model(model)
        adapters.add_lora(student, gpu.LORA)
        student.train_mode()
        given = lesson(student, prompts(2))
        serve(2, lambda: gpu.learn(student, given, 2))
        return

    class Served(gpu.Bench):
        def count(self, _model) -> None:
            """Nothing: no shares are told here."""

        def row(self, _kind: str, _how: str, clips: int, step: Callable[[], object], *_, **__) -> bool:
            for _ in range(3):
                step()
            gpu.released()
            serve(clips, step)
            return True

    gpu.device.select_device()
    batch, micro = (64, 8) if model == "qwen2-audio" else (16, 4)
    Served(model, 1.0, batch, [micro], 1.0, [task]).ours(None)


def process(tree: str, given: argparse.Namespace) -> subprocess.Popen:
    home = Path(tree).resolve()
    paths = [str(home / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, __file__, str(home), "--work", "--model", given.model, "--task", given.task]
    started = subprocess.Popen(
        [*command, *(["--small"] if given.small else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    return started


def heard(version: subprocess.Popen) -> object:
    line = version.stdout.readline()
    if not line:
        sys.exit(f"a version ended: {' '.join(map(str, version.args))}")
    return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", help="folders with a checkout each; the first is what others are told of")
    parser.add_argument("--model", default="qwen2-audio")
    parser.add_argument("--task", default="learning", choices=["answering", "learning"])
    parser.add_argument("--turns", type=int, default=7, help="of each")
    parser.add_argument("--small", action="store_true", help="learning of small models, without a GPU")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)  # one version's process
    given = parser.parse_args()
    if given.work:
        work(given.trees[0], given.model, given.task, given.small)
        return
    for tree in given.trees:
        if not (Path(tree) / "benchmarks" / "gpu.py").exists():
            parser.error(f"{tree} is no checkout: benchmarks/gpu.py is missing there")
    import torch

    if not (given.small or torch.cuda.is_available()):
        print("no GPU here: --small shows whether it runs")
        return
    from tools.card import joules

    versions = [process(tree, given) for tree in given.trees]
    for version in versions:
        assert heard(version) == "ready"
    rates, energies = [[] for _ in versions], [[] for _ in versions]
    for _ in range(given.turns):
        for version, rate, energy in zip(versions, rates, energies, strict=True):
            print("go", file=version.stdin, flush=True)
            assert heard(version) == "begins"
            before = None if given.small else joules()
            clips, seconds = heard(version)
            rate.append(clips / seconds)
            if before is not None:
                energy.append((joules() - before) / clips)
    for version in versions:
        version.stdin.close()
        version.wait()
    print("| version | clips/s, median | of the first | J a clip | every turn |\n|---|---|---|---|---|")
    medians = [statistics.median(rate) for rate in rates]
    for tree, rate, energy, median in zip(given.trees, rates, energies, medians, strict=True):
        every, used = ", ".join(f"{turn:.1f}" for turn in rate), f"{statistics.mean(energy):.2f}" if energy else ""
        print(f"| {tree} | {median:.2f} | {median / medians[0]:.3f} | {used} | {every} |")


if __name__ == "__main__":
    RESULTS = os.dup(1)  # what else is printed goes aside
    if "--work" in sys.argv:
        os.dup2(2, 1)
    main()
