"""The distillation loop: LoRA, AdamW, cosine with warm-up, one loop for both directions and all settings.

A checkpoint is written outside the stage's outs every `checkpoint_seconds`; the order of clips and the learning rate
follow from the step alone, so a run that was killed goes on with the same losses, bit for bit on the same machine.
Several processes (synesthesia.utils.distributed) share each step's micro-batches and add up their gradients: the effective
batch and the order of clips are the same for any number of them, and sums differ in their last bits alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from synesthesia.acceleration import micro_batch
from synesthesia.acceleration.gradient_buffer import FlatGradBuffer
from synesthesia.config import TrainingConfig
from synesthesia.distillation import checkpoint
from synesthesia.distillation.dataset import DistillationDataset, make_sample_order
from synesthesia.distillation.step import EagerStep, make_step
from synesthesia.distillation.targets import Targets
from synesthesia.evaluation import local
from synesthesia.models.base import LanguageModel
from synesthesia.utils import distributed
from synesthesia.utils.device import async_tolist

__all__ = ["DistillationDataset", "TrainingError", "compute_learning_rate", "make_sample_order", "train"]


class TrainingError(ValueError):
    """A training that cannot be done as asked; the message names the parameter."""


def compute_learning_rate(step: int, num_steps: int, training: TrainingConfig) -> float:
    """Rate at a step: linear warm-up over `warmup` of the steps, then half a cosine to 0 (section 4.3)."""
    warm = max(1, round(training.warmup_ratio * num_steps))
    if step < warm:
        return training.learning_rate * (step + 1) / warm
    return training.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, num_steps - warm))))


def train(
    student: LanguageModel,
    targets: Targets,
    clips,
    store: str | Path,
    training: TrainingConfig,
    *,
    checkpoint_dir: Path,
    title: str = "",
    checkpoint_interval_seconds: float = 60.0,
    log_metric: Callable[[str, float, int], None] = lambda name, value, step: None,
) -> list[dict[str, float]]:
    """Train the student's adapter in place; returns one row of history a step (loss, its parts, rate, gradient norm).

    The loss of a step is the mean over the clips of its effective batch, in whatever micro-batches they came. `tell`
    is called with (name, value, step) as the training goes, with clips_per_second and gpu_gib too, which differ from
    run to run and are no part of the history. Raises TrainingError or memory.OutOfMemory before anything is learnt.
    """
    gpu = str(student.device).startswith("cuda")
    if gpu:
        enable_determinism()
    rank, world = distributed.rank(), distributed.world_size()
    if training.global_batch_size % world:
        raise TrainingError(
            f"distill.training.effective_batch: {training.global_batch_size} clips cannot be shared evenly by {world} "
            "processes: choose a number of processes that divides it (SYNESTHESIA_PROCESSES)"
        )
    accelerator = Accelerator(cpu=not gpu)
    learnt = [p for p in student.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        learnt, lr=training.learning_rate, weight_decay=training.weight_decay, fused=gpu or None
    )
    optimizer = accelerator.prepare(optimizer)
    student.train_mode()
    micro = (
        _find_micro_batch_size(student, targets, clips, store, training, accelerator)
        if gpu
        else training.micro_batch_size
    )
    micro = min(micro or training.global_batch_size, training.global_batch_size // world)
    lessons = DistillationDataset(student, targets, clips, store, training, micro)
    gradients = FlatGradBuffer(learnt)
    passes = make_step(student, learnt, training)
    if gpu:  # compiled kernels follow the shape that is met first: the same one, wherever a killed run goes on
        for batch in passes.prefetch([lessons.load_batch(lessons.longest_prompts(micro))]):
            passes.forward_backward(batch, micro)
        gradients.zero_()
    torch.manual_seed(training.seed)
    history = checkpoint.load_checkpoint(checkpoint_dir, student.model, optimizer)
    first, steps = len(history), lessons.num_steps
    mine = [lessons.micro_batch_indices(step, rank, world) for step in range(first, steps)]
    prepared = passes.prefetch(local.make_dataloader(lessons, [number for numbers in mine for number in numbers]))
    waiting: deque[tuple[int, Callable[[], list[float]]]] = deque()  # steps whose losses the GPU has yet to tell
    started = saved = time.monotonic()
    progress = tqdm(total=steps, initial=first, desc=title, unit="step", mininterval=1, disable=rank > 0)
    for step in range(first, steps):
        rate = compute_learning_rate(step, steps, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for _ in mine[step - first]:
            gradients.losses += passes.forward_backward(next(prepared), lessons.num_clips_in_step(step))
        if world > 1:
            gradients.all_reduce(accelerator)
        norm = accelerator.clip_grad_norm_(learnt, training.max_grad_norm)
        optimizer.step()
        waiting.append((step, async_tolist(torch.cat([gradients.losses, norm.detach().reshape(1)]))))
        gradients.zero_()
        due = time.monotonic() - saved > checkpoint_interval_seconds and step + 1 < steps
        while len(waiting) > (1 if gpu and not due and step + 1 < steps else 0):  # one step behind: nothing waits
            done, values = waiting.popleft()
            history.append(_metrics_row(done, values(), compute_learning_rate(done, steps, training), training))
            for name in ("loss", "learning_rate", "gradient_norm"):
                log_metric(name, history[-1][name], done + 1)
            if done % 20 == 19:
                seconds = time.monotonic() - started
                log_metric("clips_per_second", (done + 1 - first) * training.global_batch_size / seconds, done + 1)
                if gpu:
                    log_metric("gpu_gib", torch.cuda.max_memory_allocated() / 2**30, done + 1)
        if due and rank == 0:
            checkpoint.save_checkpoint(checkpoint_dir, student.model, optimizer, history)
        if due:
            saved = time.monotonic()
        progress.update()
    progress.close()
    student.model.eval()
    return history


def _metrics_row(step: int, values: list[float], lr: float, training: TrainingConfig) -> dict[str, float]:
    hard, close, norm = values
    return {
        "step": step + 1,
        "cross_entropy": hard,
        "divergence": close,
        "loss": hard + training.kl_weight * close,
        "learning_rate": lr,
        "gradient_norm": norm,
    }


def _find_micro_batch_size(
    student: LanguageModel, targets: Targets, clips, store, training: TrainingConfig, accelerator: Accelerator
) -> int:
    """Micro-batch for this GPU; turns recomputing of activations on where nothing fits without."""

    def attempt(micro: int, again: bool) -> None:
        student.set_gradient_checkpointing(again)
        lessons = DistillationDataset(student, targets, clips, store, training, micro)
        direct, batch = EagerStep(student, training), lessons.load_batch(lessons.longest_prompts(micro))
        try:
            direct.forward_backward((dict(batch[0]), *batch[1:]), micro)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            torch.use_deterministic_algorithms(True, warn_only=True)
            print(f"a resumed training may differ in its last bits here: {str(error).splitlines()[0]}")
            direct.forward_backward((dict(batch[0]), *batch[1:]), micro)
        for parameter in student.model.parameters():
            parameter.grad = None

    def agree(fits: bool) -> bool:
        return bool(accelerator.reduce(torch.tensor(float(fits), device=accelerator.device), "mean").item() == 1)

    tries = micro_batch.candidates(training.global_batch_size, distributed.world_size(), training.micro_batch_size)
    micro, again = micro_batch.select_first_that_fits(tries, attempt, agree)
    if distributed.is_main():
        how = ", activations computed twice" if again else ""
        print(f"micro-batch of {micro} clips a GPU{how} ({torch.cuda.max_memory_allocated() / 2**30:.1f} GiB)")
    return micro


def enable_determinism() -> None:
    """Gradients add up in one order; a resumed training then equals one that was never stopped.

    With `device.pick`, which tells cuBLAS. Not `warn_only`: attention by cuDNN then keeps its order-less backward pass
    (torch 2.11). `_fit` falls back to it for a model with an operation that has no ordered way.
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # writes to every new tensor, to find faults
