"""Ablation of the `acceleration` switches on a GPU: clips/s with all on, with one off, and with all off.

Models have the full-size configuration and random weights; clips are noise of the real sizes. Evaluation uses the batch
sizes in `EVALUATION_BATCH_SIZES`; training uses a micro-batch of eight with LoRA of rank 16. A rate is the median of
three rounds.

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
EVALUATION_BATCH_SIZES = {"qwen2-audio": 64, "qwen2-vl": 16}
SWITCHES = {  # those that have an effect on the model on a GPU
    "qwen2-audio": ["compile", "fused_kernels", "fused_lora", "fused_qkv", "crop_audio_encoder", "last_token_only",
                    "flat_gradients", "cuda_graph"],
    "qwen2-vl": ["compile", "fused_kernels", "fused_lora", "varlen_attention", "last_token_only", "cuda_graph"],
}  # fmt: skip
QUESTION = "Classify the sounding object into one of the categories below:\n" + "\n".join(
    f"{letter}. {label}" for letter, label in zip("ABCDEFGHIJ", random_init.DEFAULT_LABELS, strict=False)
)


def noise_clips(model: LanguageModel, num_clips: int) -> list[ClipInputs]:
    """Make clips of noise: 10 s of audio, or ten frames of 26 x 46 patches of 14 pixels."""
    rng = np.random.default_rng(0)
    if model.condition == "audio":
        return [ClipInputs(audio=rng.uniform(-0.5, 0.5, 160_000).astype(np.float32)) for _ in range(num_clips)]
    shape = 10, 26 * 14, 46 * 14, 3
    return [ClipInputs(frames=rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(num_clips)]


def measure_seconds(work: Callable[[], object], min_seconds: float) -> float:
    """Return seconds per run: the median of three rounds of about `min_seconds` / 3 each, after three warm-up runs."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    repeats = max(1, round(min_seconds / 3 / (time.perf_counter() - start)))
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds)


def measure_rates(name: str, switches: AccelerationConfig, seconds: float) -> tuple[float | None, float | None, float]:
    """Return clips/s of evaluation and of training (None: out of memory), and the peak memory of training in GiB."""
    model = acceleration.apply(random_init.build_model(name, "cuda"), switches)
    pin_memory = torch.utils.data._utils.pin_memory.pin_memory
    batch_size = EVALUATION_BATCH_SIZES[name]
    evaluation_rate = training_rate = None
    try:
        batch = pin_memory(model.collate(noise_clips(model, batch_size), [QUESTION] * batch_size))
        with torch.inference_mode():
            evaluation_rate = batch_size / measure_seconds(lambda: model.answer_logits(dict(batch)), seconds)
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
        grad_buffer = FlatGradBuffer(params) if switches.flat_gradients else None
        labels = torch.arange(8)
        inputs = model.collate(noise_clips(model, 8), [QUESTION] * 8)
        targets = labels, torch.ones(8, dtype=torch.bool), torch.randn(8, 10), model.letter_ids.repeat(8, 1)
        training_batch = pin_memory((inputs, *targets))
        EagerStep(model, TRAINING).forward_backward((dict(training_batch[0]), *training_batch[1:]), 8)
        step = make_step(model, params, TRAINING)

        def train() -> None:
            for batch in step.prefetch([(dict(training_batch[0]), *training_batch[1:])]):
                step.forward_backward(batch, 8)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            grad_buffer.zero_() if grad_buffer else optimizer.zero_grad()

        training_rate = 8 / measure_seconds(train, seconds)
    except torch.cuda.OutOfMemoryError:
        pass
    peak_gib = torch.cuda.max_memory_allocated() / 2**30
    return evaluation_rate, training_rate, peak_gib


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SWITCHES), choices=list(SWITCHES))
    parser.add_argument("--switches", nargs="+", help="switches to turn off, one at a time (default: all in SWITCHES)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured seconds per rate")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: this benchmark needs one")
        return
    device.select_device()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| Model | Switches | Evaluation, clips/s | Training, clips/s | GiB in training |\n|---|---|---|---|---|")
    all_on = AccelerationConfig(compile=True)
    for name in args.models:
        rows = {"all on": all_on}
        rows |= {f"{s} off": all_on.model_copy(update={s: False}) for s in args.switches or SWITCHES[name]}
        rows["all off"] = AccelerationConfig.off()
        for title, switches in rows.items():
            *rates, peak_gib = measure_rates(name, switches, args.seconds)
            cells = ["out of memory" if rate is None else f"{rate:.1f}" for rate in rates]
            print(f"| {name} | {title} | {cells[0]} | {cells[1]} | {peak_gib:.1f} |", flush=True)
            torch.use_deterministic_algorithms(False)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
