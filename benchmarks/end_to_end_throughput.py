"""End-to-end throughput of evaluation and training on the paper's LLMs, from the clip store, on one or several GPUs.

`gpu.py` times batches that are already on the GPU; here `evaluation.local.answer_questions` and
`distillation.trainer.train` run as in the pipeline: worker processes read and decode clips and compute mel spectrograms
and patches, answers are written in parts, losses are logged. The clock starts once each process has finished its first
part, or some steps, so startup and CUDA graph capture are excluded. GPU utilization is nvidia-smi's (fraction of the
time in which a kernel ran) over the same seconds. With several processes, evaluation has more work; training splits the
global batch of 8 clips. Models have random weights; clips are smooth noise of the real sizes (10 s of audio, ten frames
of 644 x 392).

examples:
  python benchmarks/end_to_end_throughput.py                              one process, then one per GPU
  python benchmarks/end_to_end_throughput.py --models qwen2-vl --processes 1 2
  python benchmarks/end_to_end_throughput.py --small --processes 1        models of two layers, on any machine
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from gpu import LORA, TRAINING
from PIL import Image
from tools.gpu_power import GpuMonitor
from tools.noise import HEIGHT, WIDTH

from synesthesia import acceleration, schemas
from synesthesia.config import AccelerationConfig
from synesthesia.data.store import StoreWriter
from synesthesia.distillation import adapters, trainer
from synesthesia.distillation.targets import Targets
from synesthesia.evaluation import local
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.utils import device, distributed

N_CLIPS = 64
UTILIZATION = "utilization.gpu"
BATCH_SIZE = {"qwen2-audio": 64, "qwen2-vl": 16}
N_PARTS = {"qwen2-audio": 8, "qwen2-vl": 6}  # of local.BATCHES_PER_PART batches, per process
N_STEPS = {"qwen2-audio": 260, "qwen2-vl": 64}
N_WARMUP_STEPS = {"qwen2-audio": 60, "qwen2-vl": 24}  # CUDA graphs are captured, and the prefetch queues drain


def write_store(folder: Path) -> None:
    """Write a clip store of smooth noise and its table of clips."""
    rng, rows = np.random.default_rng(0), []
    with StoreWriter(folder / "store", clips_per_shard=16) as writer:
        for i in range(N_CLIPS):
            audio = (rng.standard_normal(160_000).clip(-4, 4) * 4000).astype(np.int16)
            jpegs = []
            for _ in range(10):
                coarse = rng.integers(0, 256, (HEIGHT // 14, WIDTH // 14, 3), np.uint8)
                file = io.BytesIO()
                Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
                jpegs.append(file.getvalue())
            shard, row = writer.add(f"c{i:02d}_000000", audio, jpegs)
            rows.append({"clip_id": f"c{i:02d}_000000", "video_id": f"c{i:02d}", "dataset": "vggsound",
                         "split": "finetune", "labels": ["x"], "shard": shard, "row": row})  # fmt: skip
    schemas.write(schemas.from_rows(rows, schemas.CLIP, "clips"), folder / "clips.parquet", schemas.CLIP)


def make_questions(count: int) -> pa.Table:
    """Make questions about the clips, of different lengths."""
    labels = random_init.DEFAULT_LABELS
    rows = []
    for i in range(count):
        stride = (1, 5, 7, 11, 13)[i % 5]  # coprime to 24, the number of labels: ten different ones
        options = [labels[(i * 7 + j * stride) % len(labels)] for j in range(10)]
        rows.append({"question_id": f"q{i}", "clip_id": f"c{i % N_CLIPS:02d}_000000", "split": "finetune",
                     "options": options, "target": i % 10})  # fmt: skip
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def utilization(monitor: GpuMonitor) -> float | None:
    """Return the GPU utilization in percent, if nvidia-smi reports it."""
    return None if monitor.means is None else monitor.means[0]


def measure_evaluation(
    model: LanguageModel, name: str, clips: pa.Table, folder: Path, n_parts: int
) -> tuple[float, float | None]:
    """Return clips/s of all processes, and the utilization of this GPU."""
    batch_size, world_size = BATCH_SIZE[name], distributed.world_size()

    def evaluate(n_questions: int, key: str) -> list[float]:
        """Answer the questions and return the times at which the parts were written, ascending."""
        distributed.barrier()
        cache_key = f"{key}-{world_size}"
        local.answer_questions(
            model, make_questions(n_questions), clips, folder / "store", respondent=name, answer_mode="letter_logits",
            batch_size=batch_size, cache_key=cache_key,
        )  # fmt: skip
        return sorted(f.stat().st_mtime for f in (local.CACHE_DIR / "answers" / cache_key).glob("*.parquet"))

    part_size = batch_size * local.BATCHES_PER_PART
    evaluate(world_size * part_size, f"{name}-warmup")
    with GpuMonitor(UTILIZATION) as monitor:
        times = evaluate(world_size * n_parts * part_size, f"{name}-timed")
        monitor.since = times[world_size - 1]
    rate = (len(times) - world_size) * part_size / (times[-1] - times[world_size - 1])
    return rate, utilization(monitor)


def measure_training(
    model: LanguageModel, clips: pa.Table, folder: Path, n_warmup_steps: int, n_steps: int
) -> tuple[float, float | None]:
    """Return clips/s of all processes, and the utilization of this GPU, after the warm-up steps."""
    adapters.add_lora(model, LORA)
    questions = make_questions(8 * n_steps)
    n_questions = questions.num_rows
    labels = np.arange(n_questions) % 10
    no_teacher = np.zeros(n_questions, dtype=bool), np.zeros((n_questions, 10), dtype=np.float32)
    monitor, times = GpuMonitor(UTILIZATION), {}

    def log_metric(name: str, _value: float, step: int) -> None:
        if name == "loss" and step in (n_warmup_steps, n_steps - 1):
            times[step] = time.perf_counter()
            monitor.__enter__() if step == n_warmup_steps else monitor.__exit__()

    trainer.train(
        model, Targets(questions, labels, *no_teacher, teacher_fraction=1.0), clips, folder / "store", TRAINING,
        checkpoint_dir=folder / f"training-{distributed.world_size()}", log_metric=log_metric,
        checkpoint_interval_seconds=1e9,
    )  # fmt: skip
    return 8 * (n_steps - 1 - n_warmup_steps) / (times[n_steps - 1] - times[n_warmup_steps]), utilization(monitor)


def run_worker(name: str, folder: Path, small: bool) -> None:
    """Run one process: evaluate and train; the main process writes the results."""
    torch_device = device.select_device()
    if distributed.world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())
    clips = schemas.read(folder / "clips.parquet", schemas.CLIP)
    scale = random_init.ScaledConfig() if small else None
    dtype = "float32" if small else "bfloat16"
    model = random_init.build_model(name, torch_device, dtype, scale=scale)
    acceleration.apply(model, AccelerationConfig(compile=not small))
    if small:
        BATCH_SIZE[name] = 2
    results = {}

    def report(task: str, rate: float, gpu_utilization: float | None) -> None:
        """Print and save immediately, because the next task may take a long time."""
        results[task] = rate, gpu_utilization
        if distributed.is_main():
            world_size = distributed.world_size()
            print(f"{name}, {task}, {world_size} processes: {rate:.1f} clips/s", file=sys.stderr, flush=True)
            (folder / f"{name}-{world_size}.json").write_text(json.dumps(results))

    report("evaluation", *measure_evaluation(model, name, clips, folder, 2 if small else N_PARTS[name]))
    n_warmup_steps, n_steps = (4, 8) if small else (N_WARMUP_STEPS[name], N_STEPS[name])
    report("training", *measure_training(model, clips, folder, n_warmup_steps, n_steps))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(BATCH_SIZE), choices=BATCH_SIZE)
    parser.add_argument("--processes", nargs="+", type=int, default=sorted({1, max(1, torch.cuda.device_count())}))
    parser.add_argument("--small", action="store_true", help="models of two layers, a few clips")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)  # model, folder: one of the started processes
    args = parser.parse_args()
    if args.worker:
        os.chdir(args.worker[1])
        run_worker(args.worker[0], Path(args.worker[1]), args.small)
        return
    if not (args.small or torch.cuda.is_available()):
        print("no GPU: --small checks that the benchmark runs")
        return
    folder = Path(tempfile.mkdtemp(prefix="throughput-"))
    write_store(folder)
    print("| model | task | processes | clips/s | speed-up | GPU utilization |\n|---|---|---|---|---|---|", flush=True)
    for name in args.models:
        baseline: dict[str, float] = {}
        for count in args.processes:
            python = distributed.launch_command(count, torch.cuda.is_available()) if count > 1 else [sys.executable]
            worker = [str(Path(__file__).resolve()), "--worker", name, str(folder)]
            result = subprocess.run([*python, *worker, *(["--small"] if args.small else [])], stdout=sys.stderr)
            if result.returncode:
                print(f"| {name} | failed with {count} processes | | | | |", flush=True)
                continue
            for task, (rate, percent) in json.loads((folder / f"{name}-{count}.json").read_text()).items():
                baseline.setdefault(task, rate / count if count == 1 else float("nan"))
                cells = f"{rate:.1f} | {rate / baseline[task]:.2f} | {'' if percent is None else f'{percent:.0f} %'}"
                print(f"| {name} | {task} | {count} | {cells} |", flush=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
