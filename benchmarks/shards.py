"""Models of the real size and random weights, written in shards and loaded back as the study loads them: same logits?

One after the other, each in two processes (one builds, asks and writes, one loads and asks), so that memory holds one
model at a time: 17 GiB for the largest, and as much on disk. Asked is one question about a short clip of noise.

examples:
  python benchmarks/shards.py                               all of them: half an hour on two cores, minutes on a GPU
  python benchmarks/shards.py --models qwen2.5-vl
  python benchmarks/shards.py --models qwen2-vl --layers 2  scaled down
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from synesthesia import questions as wording
from synesthesia.models import device, random_weights
from synesthesia.models.base import LanguageModel, Percept


def asked(model: LanguageModel) -> torch.Tensor:
    """Logits of one question about two frames and two seconds of noise, as far as the model perceives them."""
    random = np.random.default_rng(0)
    sound = random.standard_normal(32_000).astype(np.float32).clip(-4, 4) / 8
    frames = random.integers(0, 256, (2, 56, 84, 3), np.uint8)
    percept = Percept(
        None if model.condition == "silent_video" else sound, None if model.condition == "audio" else frames
    )
    batch = model.collate([percept], [wording.prompt(random_weights.SOUNDS[:10])])
    with torch.inference_mode():
        return model.answer_logits(dict(batch)).cpu()


def write(name: str, layers: int | None, folder: Path) -> None:
    scale = random_weights.Scale(layers=layers) if layers else None
    model = random_weights.build(name, device.pick(), scale=scale)
    torch.save(asked(model), folder / "logits.pt")
    random_weights.save(model, folder / "checkpoint", shard="5GB")


def load(name: str, folder: Path) -> None:
    start = time.monotonic()
    model = random_weights.family(name).load(str(folder / "checkpoint"), "bfloat16", device.pick())
    seconds = time.monotonic() - start
    same = torch.equal(asked(model), torch.load(folder / "logits.pt", weights_only=True))
    count = sum(p.numel() for p in model.model.parameters()) / 1e9
    shards = len(list((folder / "checkpoint").glob("*.safetensors")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    says = "the same" if same else "OTHER"
    print(f"| {name} | {count:.2f} | {shards} | {seconds:.1f} | {peak:.1f} | {says} |", flush=True)
    sys.exit(not same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(random_weights.NAMES), choices=random_weights.NAMES)
    parser.add_argument("--layers", type=int, help="scaled down: this many small layers in each part")
    parser.add_argument("--step", choices=["write", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "write":
        write(given.models[0], given.layers, given.folder)
    elif given.step == "load":
        load(given.models[0], given.folder)
    else:
        print(
            "| model | billion parameters | shards | loaded in, s | memory, GiB | logits |\n|---|---|---|---|---|---|"
        )
        failed = 0
        for name in given.models:
            with tempfile.TemporaryDirectory() as folder:
                again = [sys.executable, __file__, "--models", name, "--folder", folder]
                again += ["--layers", str(given.layers)] if given.layers else []
                failed |= any(subprocess.run([*again, "--step", step]).returncode for step in ("write", "load"))
        sys.exit(failed)


if __name__ == "__main__":
    main()
