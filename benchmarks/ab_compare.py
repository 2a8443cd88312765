"""Compare checkouts of this repository on one GPU in alternation: clips/s and joules per clip of the paper's LLMs.

Separate runs do not resolve differences of a few percent: GPUs differ, and each slows down as it warms up. Here every
checkout has a process with the model in memory, and the processes take turns of a few seconds on the same GPU. The rows
are those of gpu.py; each checkout runs its own version.

examples:
  git worktree add ../before HEAD~1
  python benchmarks/ab_compare.py ../before .                             audio training, eight clips per step
  python benchmarks/ab_compare.py ../before . --model qwen2-vl --task evaluation --turns 9
  python benchmarks/ab_compare.py . . --small --turns 3                   small models, on any machine
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
from typing import Any

TURN_SECONDS = 4.0  # minimum


def serve(n_clips: int, step: Callable[[], object], results_fd: int) -> None:
    """For each line on stdin, run one turn: warm up, report the start, run, and report clips and seconds."""
    import torch

    def synchronized_time() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def send(message: object) -> None:
        os.write(results_fd, json.dumps(message).encode() + b"\n")

    send("ready")
    for _ in sys.stdin:
        elapsed = TURN_SECONDS
        for _ in range(3):
            start = synchronized_time()
            step()
            elapsed = synchronized_time() - start
        repeats = int(-(-TURN_SECONDS // elapsed))
        send("started")
        start = synchronized_time()
        for _ in range(repeats):
            step()
        send([n_clips * repeats, synchronized_time() - start])


def run_worker(tree: str, model_name: str, task: str, small: bool, results_fd: int) -> None:
    """Run the process of one checkout, with its own source and its own gpu.py."""
    sys.path[0] = str(Path(tree) / "benchmarks")
    import gpu

    if small:
        from tools.noise import make_prompts, make_training_batch
        from tools.plain import small_model

        from synesthesia import acceleration
        from synesthesia.config import AccelerationConfig
        from synesthesia.distillation import adapters

        student = acceleration.apply(small_model(model_name), AccelerationConfig())
        adapters.add_lora(student, gpu.LORA)
        student.train_mode()
        batch = make_training_batch(student, make_prompts(2))
        serve(2, lambda: gpu.run_eager_step(student, batch, 2), results_fd)
        return

    class ServingBench(gpu.Bench):
        def count_flop(self, _model: object) -> None:
            """Skip: no TFLOP/s are reported here."""

        def measure(self, _task: str, _variant: str, n_clips: int, work: Callable[[], object], *_, **__) -> bool:
            for _ in range(3):
                work()
            gpu.free_memory()
            serve(n_clips, work, results_fd)
            return True

    gpu.device.select_device()
    batch_size, micro_batch_size = (64, 8) if model_name == "qwen2-audio" else (16, 4)
    ServingBench(model_name, 1.0, batch_size, [micro_batch_size], 1.0, [task]).run_accelerated(None)


def start_worker(tree: str, args: argparse.Namespace) -> subprocess.Popen:
    """Start the process of one checkout."""
    root = Path(tree).resolve()
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, __file__, str(root), "--worker", "--model", args.model, "--task", args.task]
    return subprocess.Popen(
        [*command, *(["--small"] if args.small else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def receive(worker: subprocess.Popen) -> Any:
    """Read the next message of a worker; exit if the worker has ended."""
    line = worker.stdout.readline() if worker.stdout else ""
    if not line:
        sys.exit(f"a worker exited: {' '.join(map(str, worker.args))}")
    return json.loads(line)


def compare(args: argparse.Namespace) -> None:
    """Run the checkouts in alternation and print the table."""
    from tools.gpu_power import read_joules

    workers = [start_worker(tree, args) for tree in args.trees]
    for worker in workers:
        assert receive(worker) == "ready"
    rates, energies = [[] for _ in workers], [[] for _ in workers]
    for _ in range(args.turns):
        for worker, rate, energy in zip(workers, rates, energies, strict=True):
            print("go", file=worker.stdin, flush=True)
            assert receive(worker) == "started"
            joules_before = None if args.small else read_joules()
            n_clips, seconds = receive(worker)
            rate.append(n_clips / seconds)
            if joules_before is not None:
                energy.append((read_joules() - joules_before) / n_clips)
    for worker in workers:
        worker.stdin.close()
        worker.wait()
    print("| checkout | clips/s, median | relative to the first | J per clip | all turns |\n|---|---|---|---|---|")
    medians = [statistics.median(rate) for rate in rates]
    for tree, rate, energy, median in zip(args.trees, rates, energies, medians, strict=True):
        turns, joules = ", ".join(f"{turn:.1f}" for turn in rate), f"{statistics.mean(energy):.2f}" if energy else ""
        print(f"| {tree} | {median:.2f} | {median / medians[0]:.3f} | {joules} | {turns} |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", help="folders with one checkout each; the first one is the reference")
    parser.add_argument("--model", default="qwen2-audio")
    parser.add_argument("--task", default="training", choices=["evaluation", "training"])
    parser.add_argument("--turns", type=int, default=7, help="turns per checkout")
    parser.add_argument("--small", action="store_true", help="training of small models, without a GPU")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # process of one checkout
    args = parser.parse_args()
    if args.worker:
        results_fd = os.dup(1)
        os.dup2(2, 1)  # stdout carries messages only: other output goes to stderr
        run_worker(args.trees[0], args.model, args.task, args.small, results_fd)
        return
    for tree in args.trees:
        if not (Path(tree) / "benchmarks" / "gpu.py").exists():
            parser.error(f"{tree} is not a checkout: benchmarks/gpu.py is missing")
    import torch

    if not (args.small or torch.cuda.is_available()):
        print("no GPU: --small checks that the benchmark runs")
        return
    compare(args)


if __name__ == "__main__":
    main()
