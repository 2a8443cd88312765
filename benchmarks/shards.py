"""Save full-size models with random weights in shards, load them as in the study, and train them with LoRA.

Each model runs in two processes, so that memory and disk hold one model at a time: the first builds it, computes the
logits of one question about a short clip of noise, and saves the checkpoint; the second loads the checkpoint, checks
that the logits are equal, and trains a LoRA adapter on the question, as in distillation. Works without a GPU, for all
model families.

examples:
  python benchmarks/shards.py                               all models
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

LABEL = 3  # index of the letter that is the training label
NUM_STEPS = 3


def make_batch(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Collate one question about two seconds of noise and two frames, limited to the model's modalities."""
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(32_000).astype(np.float32).clip(-4, 4) / 8
    frames = rng.integers(0, 256, (2, 56, 84, 3), np.uint8)
    clip = ClipInputs(
        None if model.condition == "silent_video" else audio, None if model.condition == "audio" else frames
    )
    return model.collate([clip], [format_prompt(random_init.DEFAULT_LABELS[:10])])


def compute_logits(model: LanguageModel) -> torch.Tensor:
    """Return the logits at the answer position."""
    with torch.inference_mode():
        return model.answer_logits(make_batch(model)).cpu()


def train(model: LanguageModel) -> list[float]:
    """Train a LoRA adapter; return the cross-entropy before each of `NUM_STEPS` steps and after the last one."""
    device.seed(0)
    adapters.add_lora(model, LORA)
    model.train_mode()
    trainable_params = [p for p in model.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable_params, lr=1e-3)
    eager_step = EagerStep(model, TRAINING)
    targets = torch.tensor([LABEL]), torch.tensor([False]), torch.zeros(1, 10), model.letter_ids[None]
    losses = []
    for step in range(NUM_STEPS + 1):
        losses.append(float(eager_step.forward_backward((make_batch(model), *targets), 1)[0]))
        if step < NUM_STEPS:
            optimizer.step()
            optimizer.zero_grad()
    return losses


def save_model(name: str, num_layers: int | None, folder: Path) -> None:
    """Build a model and save its checkpoint and its logits into the folder."""
    scale = random_init.ScaledConfig(num_layers=num_layers) if num_layers else None
    model = random_init.build_model(name, device.select_device(), scale=scale)
    torch.save(compute_logits(model), folder / "logits.pt")
    random_init.save_checkpoint(model, folder / "checkpoint", max_shard_size="5GB")


def load_and_train(name: str, folder: Path) -> None:
    """Load a saved model, train it, and print a row; exit with 1 if the logits differ or the loss does not decrease."""
    start = time.monotonic()
    model = random_init.get_model_class(name).load(str(folder / "checkpoint"), "bfloat16", device.select_device())
    load_seconds = time.monotonic() - start
    is_equal = torch.equal(compute_logits(model), torch.load(folder / "logits.pt", weights_only=True))
    billion_params = sum(p.numel() for p in model.model.parameters()) / 1e9
    num_shards = len(list((folder / "checkpoint").glob("*.safetensors")))
    losses = train(model)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells = (name, f"{billion_params:.2f}", num_shards, f"{load_seconds:.1f}", "equal" if is_equal else "DIFFERENT")
    loss_cell = ", ".join(f"{loss:.2f}" for loss in losses)
    print(f"| {' | '.join(map(str, cells))} | {loss_cell} | {peak_gib:.1f} |", flush=True)
    sys.exit(not (is_equal and losses[-1] < losses[0]))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=list(random_init.CONFIG_FAMILIES), choices=random_init.CONFIG_FAMILIES
    )
    parser.add_argument("--layers", type=int, help="scale down: number of small layers in each part of the model")
    parser.add_argument("--step", choices=["write", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step == "write":
        save_model(args.models[0], args.layers, args.folder)
    elif args.step == "load":
        load_and_train(args.models[0], args.folder)
    else:
        print("| model | billion parameters | shards | load time, s | logits | loss per step | peak memory, GiB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        has_failed = 0
        for name in args.models:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--models", name, "--folder", folder]
                command += ["--layers", str(args.layers)] if args.layers else []
                has_failed |= any(subprocess.run([*command, "--step", step]).returncode for step in ("write", "load"))
        sys.exit(has_failed)


if __name__ == "__main__":
    main()
