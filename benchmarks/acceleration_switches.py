"""What each switch of `acceleration` brings on a GPU: clips/s with all on, with one off, and with all off.

Models have the real configuration and random weights; clips are noise of the real sizes. Evaluation is the batch given
below, training a micro-batch of eight with LoRA of rank 16. A rate is the median of three rounds.

examples:
  python benchmarks/acceleration_switches.py
  python benchmarks/acceleration_switches.py --models qwen2-vl --switches compile cuda_graph
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from synesthesia import acceleration
from synesthesia.acceleration.gradient_buffer import FlatGradBuffer
from synesthesia.config import AccelerationConfig, LoRAConfig, TrainingConfig
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.distillation import adapters, trainer
from synesthesia.distillation.step import EagerStep, make_step
from synesthesia.models import random_init
from synesthesia.models.base import ALL_LINEAR, LanguageModel
from synesthesia.utils import device

LORA = LoRAConfig(rank=16, alpha=32.0, dropout=0.0, target_modules=ALL_LINEAR)
TRAINING = TrainingConfig(
    seed=0, epochs=1.0, global_batch_size=8, micro_batch_size=8, checkpoint_interval_minutes=10.0, learning_rate=1e-4,
    warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=1.0, temperature=2.0, kl_weight=1.0, kl_support="letters",
)  # fmt: skip
EVALUATION_BATCH = {"qwen2-audio": 64, "qwen2-vl": 16}
SWITCHES = {  # those that do something for the model on a GPU
    "qwen2-audio": ["compile", "fused_kernels", "fused_lora", "fused_qkv", "crop_audio_encoder", "last_token_only",
                    "flat_gradients", "cuda_graph"],
    "qwen2-vl": ["compile", "fused_kernels", "fused_lora", "varlen_attention", "last_token_only", "cuda_graph"],
}  # fmt: skip
QUESTION = "Classify the sounding object into one of the categories below:\n" + "\n".join(
    f"{letter}. {label}" for letter, label in zip("ABCDEFGHIJ", random_init.DEFAULT_LABELS, strict=False)
)


def noise_clips(model: LanguageModel, num_clips: int) -> list[ClipInputs]:
    """Return clips of noise: 10 s of audio, or ten frames of 26 x 46 patches of 14 pixels."""
    rng = np.random.default_rng(0)
    if model.condition == "audio":
        return [ClipInputs(audio=rng.uniform(-0.5, 0.5, 160_000).astype(np.float32)) for _ in range(num_clips)]
    shape = 10, 26 * 14, 46 * 14, 3
    return [ClipInputs(frames=rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(num_clips)]


def seconds_of(work: Callable[[], object], seconds: float) -> float:
    """Return the median over three rounds of at least `seconds` / 3 each, after three runs that do not count."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    repeats = max(1, round(seconds / 3 / (time.perf_counter() - start)))
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds)


def rates(name: str, switches: AccelerationConfig, seconds: float) -> tuple[float | None, float | None, float]:
    """Return clips/s of evaluation and of training (None: out of memory), and the peak memory of training in GiB."""
    model = acceleration.apply(random_init.build_model(name, "cuda"), switches)
    pin = torch.utils.data._utils.pin_memory.pin_memory
    size = EVALUATION_BATCH[name]
    evaluation = training = None
    peak = 0.0
    try:
        batch = pin(model.collate(noise_clips(model, size), [QUESTION] * size))
        with torch.inference_mode():
            evaluation = size / seconds_of(lambda: model.answer_logits(dict(batch)), seconds)
    except torch.cuda.OutOfMemoryError:
        pass
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        adapters.add_lora(model, LORA)
        model.train_mode()
        trainer.enable_determinism()
        params = [p for p in model.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
        gradients = FlatGradBuffer(params) if switches.flat_gradients else None
        labels = torch.arange(8)
        inputs = model.collate(noise_clips(model, 8), [QUESTION] * 8)
        targets = labels, torch.ones(8, dtype=torch.bool), torch.randn(8, 10), model.letter_ids.repeat(8, 1)
        example = pin((inputs, *targets))
        EagerStep(model, TRAINING).forward_backward((dict(example[0]), *example[1:]), 8)
        step = make_step(model, params, TRAINING)

        def train() -> None:
            for batch in step.prefetch([(dict(example[0]), *example[1:])]):
                step.forward_backward(batch, 8)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            gradients.zero_() if gradients else optimizer.zero_grad()

        training = 8 / seconds_of(train, seconds)
    except torch.cuda.OutOfMemoryError:
        pass
    peak = torch.cuda.max_memory_allocated() / 2**30
    return evaluation, training, peak


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SWITCHES), choices=list(SWITCHES))
    parser.add_argument("--switches", nargs="+", help="only these, one off at a time (default: all that matter)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a rate")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: this benchmark needs one")
        return
    device.select_device()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| Model | Switches | Evaluation, clips/s | Training, clips/s | GiB in training |\n|---|---|---|---|---|")
    everything = AccelerationConfig(compile=True)
    for name in args.models:
        rows = {"all on": everything}
        rows |= {f"{s} off": everything.model_copy(update={s: False}) for s in args.switches or SWITCHES[name]}
        rows["all off"] = AccelerationConfig.off()
        for title, switches in rows.items():
            evaluation, training, peak = rates(name, switches, args.seconds)
            shown = ["out of memory" if rate is None else f"{rate:.1f}" for rate in (evaluation, training)]
            print(f"| {name} | {title} | {shown[0]} | {shown[1]} | {peak:.1f} |", flush=True)
            torch.use_deterministic_algorithms(False)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
