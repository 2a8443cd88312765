"""The study's own loops on the paper's LLMs, fed from a store by the loader's workers: on one GPU and on several.

`gpu.py` times batches that lie on the GPU already; here `answering.answer` and `distillation.trainer.train` run as the
stages run them: clips read, decoded, made into mels and patches by worker processes, answers written in parts, losses
told. Time starts when each process has finished its first part, or some steps: what starting costs, and the meeting of
new shapes, is not in it. The busy share is nvidia-smi's (the share of the time in which a kernel ran) over the same
seconds. With several processes the work grows with them in answering; in learning the effective batch of 8 clips is
shared among them.
Models have random weights, clips are smooth noise of the real sizes (10 s of sound, ten frames of 644 x 392).

examples:
  python benchmarks/fed.py                                       one process, then one a GPU
  python benchmarks/fed.py --models qwen2-vl --processes 1 2
  python benchmarks/fed.py --small --processes 1                 models of two layers, on any machine: does it run?
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
import torch
from gpu import LORA, TRAINING
from PIL import Image
from tools.card import Watched
from tools.noise import HEIGHT, WIDTH

from synesthesia import schemas
from synesthesia.data.store import StoreWriter
from synesthesia.distillation import adapters, trainer
from synesthesia.distillation.targets import Targets
from synesthesia.evaluation import local
from synesthesia.models import random_init
from synesthesia.utils import device, distributed

CLIPS = 64
BUSY = "utilization.gpu"
BATCH = {"qwen2-audio": 64, "qwen2-vl": 16}
PARTS = {"qwen2-audio": 8, "qwen2-vl": 6}  # of answering.PART_BATCHES batches, a process
STEPS = {"qwen2-audio": 260, "qwen2-vl": 64}
WARM = {"qwen2-audio": 60, "qwen2-vl": 24}  # steps before the clock starts: shapes are met and recorded, queues empty


def materials(folder: Path) -> None:
    """Write a store of smooth noise and its table of clips."""
    random, rows = np.random.default_rng(0), []
    with StoreWriter(folder / "store", clips_per_shard=16) as writer:
        for number in range(CLIPS):
            sound = (random.standard_normal(160_000).clip(-4, 4) * 4000).astype(np.int16)
            jpegs = []
            for _ in range(10):
                coarse = random.integers(0, 256, (HEIGHT // 14, WIDTH // 14, 3), np.uint8)
                file = io.BytesIO()
                Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
                jpegs.append(file.getvalue())
            shard, row = writer.add(f"c{number:02d}_000000", sound, jpegs)
            rows.append({"clip_id": f"c{number:02d}_000000", "video_id": f"c{number:02d}", "dataset": "vggsound",
                         "split": "finetune", "labels": ["x"], "shard": shard, "row": row})  # fmt: skip
    schemas.write(schemas.from_rows(rows, schemas.CLIP, "clips"), folder / "clips.parquet", schemas.CLIP)


def questions(count: int):
    """So many questions about the clips, of different lengths."""
    names = random_init.DEFAULT_LABELS
    rows = []
    for i in range(count):
        step = (1, 5, 7, 11, 13)[i % 5]  # prime to 24, the number of names: ten different ones
        options = [names[(i * 7 + j * step) % len(names)] for j in range(10)]
        rows.append({"question_id": f"q{i}", "clip_id": f"c{i % CLIPS:02d}_000000", "split": "finetune",
                     "options": options, "target": i % 10})  # fmt: skip
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


def share(busy: Watched) -> float | None:
    return None if busy.means is None else busy.means[0]


def answering_rate(model, name: str, clips, folder: Path, parts: int) -> tuple[float, float | None]:
    """Clips a second of all processes together, and this GPU's busy share."""
    batch, world = BATCH[name], distributed.world_size()

    def ask(count: int, key: str) -> list[float]:
        """When the parts were finished, in seconds of the clock."""
        distributed.barrier()
        local.answer_questions(model, questions(count), clips, folder / "store", respondent=name, answer_mode="letter_logits",
                         batch_size=batch, cache_key=f"{key}-{world}")  # fmt: skip
        return sorted(f.stat().st_mtime for f in (local.CACHE_DIR / f"answers/{key}-{world}").glob("*.parquet"))

    part = batch * local.BATCHES_PER_PART
    ask(world * part, f"{name}-warm")
    with Watched(BUSY) as busy:
        finished = ask(world * parts * part, f"{name}-timed")
        busy.since = finished[world - 1]
    return (len(finished) - world) * part / (finished[-1] - finished[world - 1]), share(busy)


def learning_rate(model, clips, folder: Path, warm: int, steps: int) -> tuple[float, float | None]:
    """Clips a second of all processes together, and this GPU's busy share, after the first `warm` steps."""
    adapters.add_lora(model, LORA)
    asked = questions(8 * steps)
    letters = np.arange(asked.num_rows) % 10
    nothing = np.zeros(asked.num_rows, dtype=bool), np.zeros((asked.num_rows, 10), dtype=np.float32)
    busy, at = Watched(BUSY), {}

    def tell(name: str, _value: float, step: int) -> None:
        if name == "loss" and step in (warm, steps - 1):
            at[step] = time.perf_counter()
            busy.__enter__() if step == warm else busy.__exit__()

    trainer.train(model, Targets(asked, letters, *nothing, teacher_fraction=1.0), clips, folder / "store", TRAINING,
                  checkpoint_dir=folder / f"learning-{distributed.world_size()}", log_metric=tell, checkpoint_interval_seconds=1e9)  # fmt: skip
    return 8 * (steps - 1 - warm) / (at[steps - 1] - at[warm]), share(busy)


def work(name: str, folder: Path, small: bool) -> None:
    """One process: answer and learn; the first writes what it measured."""
    place = device.select_device()
    if distributed.world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())
    clips = schemas.read(folder / "clips.parquet", schemas.CLIP)
    scale = random_init.ScaledConfig() if small else None
    precision = "float32" if small else "bfloat16"
    model = random_init.build_model(name, place, precision, scale=scale)
    if not small:
        model.compile()
    if small:
        BATCH[name] = 2
    found = {}

    def measured(task: str, rate: float, busy: float | None) -> None:
        """Said at once, too: what comes later may take longer than somebody waits."""
        found[task] = rate, busy
        if distributed.is_main():
            print(
                f"{name}, {task}, {distributed.world_size()} processes: {rate:.1f} clips/s", file=sys.stderr, flush=True
            )
            (folder / f"{name}-{distributed.world_size()}.json").write_text(json.dumps(found))

    measured("answering", *answering_rate(model, name, clips, folder, 2 if small else PARTS[name]))
    measured("learning", *learning_rate(model, clips, folder, *((4, 8) if small else (WARM[name], STEPS[name]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(BATCH), choices=BATCH)
    parser.add_argument("--processes", nargs="+", type=int, default=sorted({1, max(1, torch.cuda.device_count())}))
    parser.add_argument("--small", action="store_true", help="models of two layers, a few clips")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)  # model, folder: one process of what this starts
    given = parser.parse_args()
    if given.work:
        os.chdir(given.work[1])
        work(given.work[0], Path(given.work[1]), given.small)
        return
    if not (given.small or torch.cuda.is_available()):
        print("no GPU here: --small shows whether it runs")
        return
    folder = Path(tempfile.mkdtemp(prefix="fed-"))
    materials(folder)
    print("| model | task | processes | clips/s | of one | GPU busy |\n|---|---|---|---|---|---|", flush=True)
    for name in given.models:
        one: dict[str, float] = {}
        for count in given.processes:
            start = distributed.launch_command(count, torch.cuda.is_available()) if count > 1 else [sys.executable]
            arguments = [str(Path(__file__).resolve()), "--work", name, str(folder)]
            done = subprocess.run([*start, *arguments, *(["--small"] if given.small else [])], stdout=sys.stderr)
            if done.returncode:
                print(f"| {name} | failed with {count} processes | | | | |", flush=True)
                continue
            for task, (rate, busy) in json.loads((folder / f"{name}-{count}.json").read_text()).items():
                one.setdefault(task, rate / count if count == 1 else float("nan"))
                share = "" if busy is None else f"{busy:.0f} %"
                print(f"| {name} | {task} | {count} | {rate:.1f} | {rate / one[task]:.2f} | {share} |", flush=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
