"""Throughput of the paper's LLMs at full size on one GPU, compared with plain transformers and peft, in one run.

Models have the full-size configuration and random weights (no download); clips are noise of the real sizes: 10 s
of audio, ten frames of 26 x 46 patches of 14 pixels. "plain" is the baseline: `generate` of one token, one clip at a
time, audio padded to 30 s; and peft with gradient checkpointing, one clip at a time, eight times. Each row has TFLOP/s,
counted by torch's FlopCounterMode over the operations of this project's forward and backward pass, and the fraction of
the measured matrix-product throughput of this GPU. Joules are read from the GPU's counter: at the power limit, energy
per clip bounds the speed.

examples:
  python benchmarks/gpu.py                                   all rows, about ten minutes on an H100
  python benchmarks/gpu.py --models qwen2-audio --rows accelerated --tasks training --micro-batch-sizes 8
  python benchmarks/gpu.py --memory 24                       as on a GPU with 24 GB
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from tools.flops import count_tflop
from tools.gpu_power import read_joules
from tools.noise import make_prompts, make_training_batch, noise_clips
from tools.plain import plain_inputs, plain_model, small_model

from synesthesia import acceleration
from synesthesia.acceleration.gradient_buffer import FlatGradBuffer
from synesthesia.config import AccelerationConfig, LoRAConfig, TrainingConfig
from synesthesia.distillation import adapters, trainer
from synesthesia.distillation.step import EagerStep, make_step
from synesthesia.models import random_init
from synesthesia.models.base import ALL_LINEAR, LanguageModel
from synesthesia.utils import device

LORA = LoRAConfig(rank=16, alpha=32.0, dropout=0.0, target_modules=ALL_LINEAR)
TRAINING = TrainingConfig(
    seed=0, epochs=1.0, global_batch_size=8, micro_batch_size=None, checkpoint_interval_minutes=10.0,
    learning_rate=1e-4, warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=1.0, temperature=2.0, kl_weight=1.0,
    kl_support="letters",
)  # fmt: skip
MIN_ROUND_SECONDS = 2.0  # a GPU slows down as it warms up
ROWS = ["plain", "accelerated"]
TASKS = ["evaluation", "training"]


def time_work(work: Callable[[], object], warmup: int) -> tuple[float, float | None]:
    """Time a computation on the GPU.

    Args:
        work: Function to time.
        warmup: Number of runs before, at least 1.

    Returns:
        Seconds per run, the median of three rounds without synchronization inside; and joules per run, if reported.
    """
    elapsed = MIN_ROUND_SECONDS
    for _ in range(warmup):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
    repeats = math.ceil(MIN_ROUND_SECONDS / elapsed)
    joules_before, seconds = read_joules(), []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / repeats)
    joules_after = read_joules()
    if joules_before is None or joules_after is None:
        return statistics.median(seconds), None
    return statistics.median(seconds), (joules_after - joules_before) / (3 * repeats)


def measure_peak_tflops() -> float:
    """Measure TFLOP/s of a large bfloat16 matrix product on this GPU."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / time_work(lambda: a @ b, 5)[0] / 1e12


def free_memory() -> None:
    """Return cached GPU memory to the driver and reset the peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Bench:
    """Rows of one model; all use the same clips and questions."""

    def __init__(
        self,
        name: str,
        peak_tflops: float,
        batch_size: int,
        micro_batch_sizes: list[int],
        memory_fraction: float,
        tasks: list[str],
    ) -> None:
        """Create the benchmark.

        Args:
            name: Key of `random_init.CONFIG_FAMILIES`.
            peak_tflops: Measured TFLOP/s of a matrix product.
            batch_size: Clips per batch in evaluation.
            micro_batch_sizes: Micro-batch sizes to try in training; the first one is profiled.
            memory_fraction: Fraction of the GPU's memory that may be used.
            tasks: Members of `TASKS`.
        """
        self.name, self.peak_tflops, self.batch_size = name, peak_tflops, batch_size
        self.micro_batch_sizes, self.memory_fraction, self.tasks = micro_batch_sizes, memory_fraction, tasks
        self.tflop_per_clip = {"evaluation": 0.0, "training": 0.0}
        self.prompts = make_prompts(64)

    def measure(self, task: str, variant: str, n_clips: int, work: Callable[[], object], warmup: int = 2) -> bool:
        """Time one variant and print its row; tasks that are not requested are skipped.

        Args:
            task: Member of `TASKS`.
            variant: Description of the row.
            n_clips: Clips per run of `work`.
            work: Function to time.
            warmup: Number of runs before.

        Returns:
            Whether it fits into memory.
        """
        if task not in self.tasks:
            return True
        free_memory()
        title = f"{self.name} | {task} | {variant}"
        try:
            seconds, joules = time_work(work, warmup)
            energy = "? | ?" if joules is None else f"{joules / n_clips:.1f} | {joules / seconds:.0f}"
            tflops = n_clips / seconds * self.tflop_per_clip[task]
            memory = torch.cuda.max_memory_allocated() / 2**30
            compute = f"{tflops:.0f} | {100 * tflops / self.peak_tflops:.0f} %"
            print(f"| {title} | {n_clips / seconds:.1f} | {compute} | {memory:.1f} | {energy} |", flush=True)
            fits = True
        except torch.cuda.OutOfMemoryError:
            print(f"| {title} | out of memory | | | | | |", flush=True)
            fits = False
        free_memory()
        return fits

    def count_flop(self, model: LanguageModel) -> None:
        """Count TFLOP per clip of evaluation and of training with LoRA on every linear layer.

        Uses the GPU's entire memory: with less, training would recompute activations.
        """
        torch.cuda.set_per_process_memory_fraction(1.0)
        batch = model.collate(noise_clips(model, 2), self.prompts[:2])
        with torch.no_grad():
            self.tflop_per_clip["evaluation"] = count_tflop(lambda: model.answer_logits(dict(batch))) / 2
        adapters.add_lora(model, LORA)
        model.train_mode()
        training_batch = make_training_batch(model, self.prompts[:1])
        self.tflop_per_clip["training"] = count_tflop(lambda: run_eager_step(model, training_batch, 1))
        free_memory()
        torch.cuda.set_per_process_memory_fraction(self.memory_fraction)
        counts = ", ".join(f"{task} {value:.2f}" for task, value in self.tflop_per_clip.items())
        print(f"{self.name}: TFLOP per clip: {counts}", flush=True)

    def run_accelerated(self, profile_folder: str | None) -> None:
        """Measure the rows of this project's forward and backward pass with all switches on.

        Args:
            profile_folder: Destination of profiles, or None.
        """
        model = acceleration.apply(random_init.build_model(self.name, "cuda"), AccelerationConfig())
        self.count_flop(model)
        del model
        free_memory()
        model = acceleration.apply(random_init.build_model(self.name, "cuda"), AccelerationConfig(compile=True))
        if "evaluation" in self.tasks:
            self.run_evaluation(model, profile_folder)
        if "training" in self.tasks:
            self.run_training(model, profile_folder)

    def run_evaluation(self, model: LanguageModel, profile_folder: str | None) -> None:
        """Measure evaluation; halve the batch size until it fits into memory.

        Args:
            model: Model with acceleration applied.
            profile_folder: Destination of profiles, or None.
        """
        n_clips = self.batch_size
        while n_clips:
            batch = pin_memory(model.collate(noise_clips(model, n_clips), self.prompts[:n_clips]))

            def answer(batch: dict = batch) -> None:
                with torch.inference_mode():
                    model.answer_logits(dict(batch))

            if self.measure("evaluation", f"accelerated, batch {n_clips}", n_clips, answer, 3):
                write_profile(answer, profile_folder, f"{self.name}-evaluation")
                break
            n_clips //= 2

    def run_training(self, model: LanguageModel, profile_folder: str | None) -> None:
        """Measure training with every micro-batch size; with gradient checkpointing only if none fits.

        Args:
            model: Model with acceleration applied.
            profile_folder: Destination of profiles, or None.
        """
        adapters.add_lora(model, LORA)
        model.train_mode()
        trainer.enable_determinism()  # as in the training loop
        params = [p for p in model.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
        grad_buffer = FlatGradBuffer(params)
        fits = False
        for size, use_checkpointing in [*((size, False) for size in self.micro_batch_sizes), (1, True)]:
            if use_checkpointing and fits:
                continue
            model.set_gradient_checkpointing(use_checkpointing)
            batch = pin_memory(make_training_batch(model, self.prompts[:size]))
            step = make_step(model, params, TRAINING)  # deleting it frees the memory of its graphs
            is_first = True

            def train(batch: tuple = batch, size: int = size, step=step) -> None:
                nonlocal is_first
                if is_first:  # run out of memory here and not during graph capture
                    run_eager_step(model, batch, 8)
                    free_memory()
                    is_first = False
                for micro_batch in step.prefetch((dict(batch[0]), *batch[1:]) for _ in range(8 // size)):
                    step.forward_backward(micro_batch, 8)
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                optimizer.step()
                grad_buffer.zero_()

            variant = f"accelerated, micro-batch {size}" + (", checkpointing" if use_checkpointing else "")
            fits |= self.measure("training", variant, 8, train, 3)
            if size == self.micro_batch_sizes[0]:
                write_profile(train, profile_folder, f"{self.name}-training")
            del train, step

    def run_plain(self) -> None:
        """Measure the rows of plain transformers and peft."""
        wrapper = small_model(self.name)
        model = plain_model(self.name)
        one_clip, full_batch = plain_inputs(wrapper, 1), plain_inputs(wrapper, self.batch_size)

        def generate() -> None:
            model.generate(**one_clip, max_new_tokens=1, do_sample=False)

        def forward() -> None:
            with torch.inference_mode():
                model(**full_batch, use_cache=False)

        self.measure("evaluation", "plain: generate, batch 1", 1, generate)
        self.measure("evaluation", f"plain: forward, batch {self.batch_size}", self.batch_size, forward, 1)
        targets = wrapper.lora_targets
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets)).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

        def train(inputs: dict, n_clips: int) -> None:
            labels = torch.full_like(inputs["input_ids"], -100)
            labels[:, -1] = 32
            for _ in range(8 // n_clips):
                (model(**inputs, labels=labels, use_cache=False).loss * n_clips / 8).backward()
            optimizer.step()
            optimizer.zero_grad()

        eight_clips = plain_inputs(wrapper, 8)
        self.measure("training", "plain: peft, batch 8", 8, lambda: train(eight_clips, 8), 1)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
        self.measure("training", "plain: peft, batch 1 x 8, checkpointing", 8, lambda: train(one_clip, 1), 1)


def pin_memory(batch):
    """Pin the memory of a batch, as the data loader does."""
    return torch.utils.data._utils.pin_memory.pin_memory(batch)


def run_eager_step(model: LanguageModel, batch: tuple, n_clips: int) -> None:
    """Run forward and backward of one micro-batch of a step of `n_clips` clips, without a CUDA graph."""
    EagerStep(model, TRAINING).forward_backward((dict(batch[0]), *batch[1:]), n_clips)


def write_profile(work: Callable[[], object], folder: str | None, name: str) -> None:
    """Profile one run and write GPU time per kernel to `<folder>/<name>.txt`; no-op without a folder."""
    if folder is None:
        return
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        work()
        torch.cuda.synchronize()
    table = profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=60, max_name_column_width=110)
    with open(f"{folder}/{name}.txt", "w") as file:
        file.write(table)


def print_cost(rates: list[float]) -> None:
    """Print the GPU hours of the paper's study with its two models; AudioSet is not counted.

    Args:
        rates: Clips/s of audio evaluation, audio training, visual evaluation, visual training.
    """
    finetune, analysis, test = 149_460, 14_300, 14_202
    audio_evaluation, audio_training, visual_evaluation, visual_training = rates
    held_out = analysis + test
    seconds = {
        "evaluate qwen2-audio": (finetune + held_out) / audio_evaluation,
        "evaluate qwen2-vl": (finetune + held_out) / visual_evaluation,
        "distill visual to audio, 5 settings": 5 * finetune / audio_training,
        "distill audio to visual, 2 settings": 2 * finetune / visual_training,
        "evaluate 5 audio students": 5 * held_out / audio_evaluation,
        "evaluate 2 visual students": 2 * held_out / visual_evaluation,
    }
    print("| stage | hours |\n|---|---|")
    for name, value in {**seconds, "total": sum(seconds.values())}.items():
        print(f"| {name} | {value / 3600:.1f} |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--memory", type=float, metavar="GB", help="limit of the GPU memory")
    parser.add_argument("--profile", metavar="FOLDER", help="write GPU time per kernel into this folder")
    parser.add_argument(
        "--micro-batch-sizes", nargs="+", type=int, default=[8, 4, 2, 1], help="micro-batch sizes in training"
    )
    parser.add_argument(
        "--cost", nargs=4, type=float, metavar="CLIPS/S",
        help="only print the GPU hours of the study at these rates: audio evaluation, audio training, visual "
        "evaluation, visual training",
    )  # fmt: skip
    args = parser.parse_args()
    if args.cost:
        print_cost(args.cost)
        return
    if not torch.cuda.is_available():
        print("no GPU: `make bench-gpu` needs one")
        return
    total = torch.cuda.get_device_properties(0).total_memory
    memory_fraction = min(1.0, args.memory * 1e9 / total) if args.memory else 1.0
    torch.cuda.set_per_process_memory_fraction(memory_fraction)
    device.select_device()
    peak_tflops = measure_peak_tflops()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: matrix product {peak_tflops:.0f} TFLOP/s")
    header = "| model | task | variant | clips/s | TFLOP/s | of peak | GiB | J per clip | W |"
    print(f"\n{header}\n{'|---' * 9}|", flush=True)
    for name in args.models:
        batch_size = 64 if name == "qwen2-audio" else 16
        bench = Bench(name, peak_tflops, batch_size, args.micro_batch_sizes, memory_fraction, args.tasks)
        if "accelerated" in args.rows:
            bench.run_accelerated(args.profile)
        free_memory()
        if "plain" in args.rows:
            bench.run_plain()
        free_memory()


if __name__ == "__main__":
    main()
