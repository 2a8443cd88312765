"""Models of the real size and random weights, written in shards, loaded back as the study loads them, and taught.

One after the other, each in two processes (one builds, asks and writes; one loads, asks whether the logits are the
same, and learns the answer to its question with LoRA, as distillation does), so that memory holds one model at a time,
and as much on disk. Asked is one question about a short clip of noise. Works without a GPU, for all families.

examples:
  python benchmarks/shards.py                               all of them
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
from gpu import LORA, TRAINING

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.distillation import adapters
from synesthesia.distillation.step import EagerStep
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils import device

LETTER = 3  # what it is taught to say
STEPS = 3


def question(model: LanguageModel) -> dict[str, torch.Tensor]:
    """One about two frames and two seconds of noise, as far as the model perceives them."""
    random = np.random.default_rng(0)
    sound = random.standard_normal(32_000).astype(np.float32).clip(-4, 4) / 8
    frames = random.integers(0, 256, (2, 56, 84, 3), np.uint8)
    percept = ClipInputs(
        None if model.condition == "silent_video" else sound, None if model.condition == "audio" else frames
    )
    return model.collate([percept], [format_prompt(random_init.DEFAULT_LABELS[:10])])


def asked(model: LanguageModel) -> torch.Tensor:
    """Logits of the question."""
    with torch.inference_mode():
        return model.answer_logits(question(model)).cpu()


def taught(model: LanguageModel) -> list[float]:
    """The letter's cross entropy before each of `STEPS` steps of LoRA, and after the last."""
    device.seed(0)
    adapters.add_lora(model, LORA)
    model.train_mode()
    weights = [p for p in model.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    passes = EagerStep(model, TRAINING)
    labelled = torch.tensor([LETTER]), torch.tensor([False]), torch.zeros(1, 10), model.letter_ids[None]
    losses = []
    for step in range(STEPS + 1):
        losses.append(float(passes.forward_backward((question(model), *labelled), 1)[0]))
        if step < STEPS:
            optimizer.step()
            optimizer.zero_grad()
    return losses


def write(name: str, layers: int | None, folder: Path) -> None:
    scale = random_init.ScaledConfig(num_layers=layers) if layers else None
    model = random_init.build_model(name, device.select_device(), scale=scale)
    torch.save(asked(model), folder / "logits.pt")
    random_init.save_checkpoint(model, folder / "checkpoint", max_shard_size="5GB")


def load(name: str, folder: Path) -> None:
    start = time.monotonic()
    model = random_init.get_model_class(name).load(str(folder / "checkpoint"), "bfloat16", device.select_device())
    seconds = time.monotonic() - start
    same = torch.equal(asked(model), torch.load(folder / "logits.pt", weights_only=True))
    count = sum(p.numel() for p in model.model.parameters()) / 1e9
    shards = len(list((folder / "checkpoint").glob("*.safetensors")))
    losses = taught(model)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    says = "the same" if same else "OTHER"
    learns = ", ".join(f"{loss:.2f}" for loss in losses)
    print(f"| {name} | {count:.2f} | {shards} | {seconds:.1f} | {says} | {learns} | {peak:.1f} |", flush=True)
    sys.exit(not (same and losses[-1] < losses[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=list(random_init.CONFIG_FAMILIES), choices=random_init.CONFIG_FAMILIES
    )
    parser.add_argument("--layers", type=int, help="scaled down: this many small layers in each part")
    parser.add_argument("--step", choices=["write", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "write":
        write(given.models[0], given.layers, given.folder)
    elif given.step == "load":
        load(given.models[0], given.folder)
    else:
        print("| model | billion parameters | shards | loaded in, s | logits | letter's loss | memory, GiB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        failed = 0
        for name in given.models:
            with tempfile.TemporaryDirectory() as folder:
                again = [sys.executable, __file__, "--models", name, "--folder", folder]
                again += ["--layers", str(given.layers)] if given.layers else []
                failed |= any(subprocess.run([*again, "--step", step]).returncode for step in ("write", "load"))
        sys.exit(failed)


if __name__ == "__main__":
    main()
