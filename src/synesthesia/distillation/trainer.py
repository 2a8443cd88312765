"""The distillation loop: LoRA with AdamW and a cosine schedule, the same for both directions and all settings.

A checkpoint is written outside the stage's outputs at a fixed interval. The order of clips and the learning rate depend
on the step alone, so a run that was killed resumes with the same losses, bitwise on the same machine. Several processes
(synesthesia.utils.distributed) share the micro-batches of each step and sum their gradients: the global batch size and
the order of clips are independent of the number of processes, and sums differ only by rounding.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa
import torch
from accelerate import Accelerator
from tqdm import tqdm

from synesthesia.acceleration import micro_batch
from synesthesia.acceleration.gradient_buffer import FlatGradBuffer
from synesthesia.config import TrainingConfig
from synesthesia.data import clip_batches
from synesthesia.distillation import checkpoint
from synesthesia.distillation.dataset import DistillationDataset
from synesthesia.distillation.gradients import SeparateGradients
from synesthesia.distillation.step import EagerStep, make_step
from synesthesia.distillation.targets import Targets
from synesthesia.models.base import LanguageModel
from synesthesia.utils import distributed
from synesthesia.utils.device import async_tolist
from synesthesia.utils.schedules import cosine_with_warmup

THROUGHPUT_INTERVAL = 20  # steps between two values of clips_per_second


class TrainingError(ValueError):
    """The training cannot run with these parameters; the message names the parameter."""


def train(
    student: LanguageModel,
    targets: Targets,
    clips: pa.Table,
    store_dir: str | Path,
    training: TrainingConfig,
    *,
    checkpoint_dir: Path,
    title: str = "",
    checkpoint_interval_seconds: float = 60.0,
    log_metric: Callable[[str, float, int], None] = lambda name, value, step: None,
) -> list[dict[str, float]]:
    """Train the student's adapter in place.

    The loss of a step is the mean over the clips of its global batch, however they are split into micro-batches.

    Args:
        student: The student, with its adapter.
        targets: Targets of the finetune clips.
        clips: Clips (schemas.CLIP) that include those of the targets.
        store_dir: Folder of the clip store.
        training: Parameters of the optimization.
        checkpoint_dir: Folder of the checkpoint; a checkpoint there is resumed.
        title: Title of the progress bar.
        checkpoint_interval_seconds: Time between two checkpoints.
        log_metric: Called with (name, value, step) during training. clips_per_second and gpu_memory_gib vary between
            runs and are not part of the history.

    Returns:
        The history, one row per step: step from 1, cross_entropy, kl_divergence, loss, learning_rate, grad_norm.

    Raises:
        TrainingError: The number of processes does not divide the global batch size.
        InsufficientMemoryError: Not even one clip fits into the GPU's memory.
    """
    use_gpu = str(student.device).startswith("cuda")
    if use_gpu:
        enable_determinism()
    rank, world_size = distributed.rank(), distributed.world_size()
    if training.global_batch_size % world_size:
        raise TrainingError(
            f"distill.training.global_batch_size: {training.global_batch_size} clips cannot be shared evenly by "
            f"{world_size} processes: choose a number of processes that divides it ({distributed.NUM_PROCESSES_ENV})"
        )
    accelerator = Accelerator(cpu=not use_gpu)
    trainable_params = [p for p in student.model.parameters() if p.requires_grad]
    optimizer = accelerator.prepare(
        torch.optim.AdamW(
            trainable_params, lr=training.learning_rate, weight_decay=training.weight_decay, fused=use_gpu or None
        )
    )
    student.train_mode()
    micro_batch_size = training.micro_batch_size
    if use_gpu:
        micro_batch_size = _find_micro_batch_size(student, targets, clips, store_dir, training, accelerator)
    micro_batch_size = min(micro_batch_size or training.global_batch_size, training.global_batch_size // world_size)
    dataset = DistillationDataset(student, targets, clips, store_dir, training, micro_batch_size)
    make_gradients = FlatGradBuffer if student.acceleration.flat_gradients else SeparateGradients
    gradients = make_gradients(trainable_params)
    train_step = make_step(student, trainable_params, training)
    if use_gpu:  # compiled kernels specialize on the first shape: make it the same one, wherever a run resumes
        longest = dataset.load_batch(dataset.longest_prompts(micro_batch_size))
        for batch in train_step.prefetch([longest]):
            train_step.forward_backward(batch, micro_batch_size)
        gradients.zero_()
    torch.manual_seed(training.seed)
    history = checkpoint.load_checkpoint(checkpoint_dir, student.model, optimizer)
    first_step, num_steps = len(history), dataset.num_steps
    indices = [dataset.micro_batch_indices(step, rank, world_size) for step in range(first_step, num_steps)]
    batches = train_step.prefetch(clip_batches.make_dataloader(dataset, [i for of_step in indices for i in of_step]))
    pending: deque[tuple[int, float, Callable[[], list[float]]]] = deque()  # steps whose losses are still on the GPU
    start_time = checkpoint_time = time.monotonic()
    progress = tqdm(total=num_steps, initial=first_step, desc=title, unit="step", mininterval=1, disable=rank > 0)
    for step in range(first_step, num_steps):
        learning_rate = cosine_with_warmup(step, num_steps, training.warmup_ratio, training.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        for _ in indices[step - first_step]:
            gradients.losses += train_step.forward_backward(next(batches), dataset.num_clips_in_step(step))
        if world_size > 1:
            gradients.all_reduce(accelerator)
        grad_norm = cast(torch.Tensor, accelerator.clip_grad_norm_(trainable_params, training.max_grad_norm))
        optimizer.step()
        values = torch.cat([gradients.losses, grad_norm.detach().reshape(1)])
        pending.append((step, learning_rate, async_tolist(values)))
        gradients.zero_()
        is_last = step + 1 == num_steps
        is_due = time.monotonic() - checkpoint_time > checkpoint_interval_seconds and not is_last
        max_pending = 1 if use_gpu and not is_due and not is_last else 0  # read one step late: the GPU never waits
        while len(pending) > max_pending:
            done, done_learning_rate, get_values = pending.popleft()
            history.append(_make_history_row(done, done_learning_rate, get_values(), training.kl_weight))
            for name in ("loss", "learning_rate", "grad_norm"):
                log_metric(name, history[-1][name], done + 1)
            if (done + 1) % THROUGHPUT_INTERVAL == 0:
                num_clips = (done + 1 - first_step) * training.global_batch_size
                log_metric("clips_per_second", num_clips / (time.monotonic() - start_time), done + 1)
                if use_gpu:
                    log_metric("gpu_memory_gib", torch.cuda.max_memory_allocated() / 2**30, done + 1)
        if is_due:
            if rank == 0:
                checkpoint.save_checkpoint(checkpoint_dir, student.model, optimizer, history)
            checkpoint_time = time.monotonic()
        progress.update()
    progress.close()
    student.model.eval()
    return history


def _make_history_row(step: int, learning_rate: float, values: list[float], kl_weight: float) -> dict[str, float]:
    cross_entropy, kl, grad_norm = values
    return {
        "step": step + 1,
        "cross_entropy": cross_entropy,
        "kl_divergence": kl,
        "loss": cross_entropy + kl_weight * kl,
        "learning_rate": learning_rate,
        "grad_norm": grad_norm,
    }


def _find_micro_batch_size(
    student: LanguageModel,
    targets: Targets,
    clips: pa.Table,
    store_dir: str | Path,
    training: TrainingConfig,
    accelerator: Accelerator,
) -> int:
    """Find the micro-batch size for this GPU; enable gradient checkpointing if nothing fits without it."""

    def attempt(micro_batch_size: int, use_checkpointing: bool) -> None:
        student.set_gradient_checkpointing(use_checkpointing)
        dataset = DistillationDataset(student, targets, clips, store_dir, training, micro_batch_size)
        step = EagerStep(student, training)
        inputs, *target_tensors = dataset.load_batch(dataset.longest_prompts(micro_batch_size))
        try:
            step.forward_backward((dict(inputs), *target_tensors), micro_batch_size)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            torch.use_deterministic_algorithms(True, warn_only=True)
            print(f"a resumed training may differ in its last bits here: {str(error).splitlines()[0]}")
            step.forward_backward((dict(inputs), *target_tensors), micro_batch_size)
        for parameter in student.model.parameters():
            parameter.grad = None

    def fits_all_ranks(fits: bool) -> bool:
        mean = cast(torch.Tensor, accelerator.reduce(torch.tensor(float(fits), device=accelerator.device), "mean"))
        return bool(mean.item() == 1)

    candidates = micro_batch.candidates(training.global_batch_size, distributed.world_size(), training.micro_batch_size)
    micro_batch_size, use_checkpointing = micro_batch.select_first_that_fits(candidates, attempt, fits_all_ranks)
    if distributed.is_main():
        suffix = ", gradient checkpointing" if use_checkpointing else ""
        gib = torch.cuda.max_memory_allocated() / 2**30
        print(f"micro-batch of {micro_batch_size} clips per GPU{suffix} ({gib:.1f} GiB)")
    return micro_batch_size


def enable_determinism() -> None:
    """Make gradients sum in a fixed order, so that a resumed training equals an uninterrupted one.

    Needs the cuBLAS workspace that `device.select_device` configures. Not `warn_only`: cuDNN attention would then keep
    its nondeterministic backward pass (torch 2.11). `_find_micro_batch_size` falls back to `warn_only` for a model with
    an operation that has no deterministic implementation.
    """
    torch.use_deterministic_algorithms(True)
    # True would fill every new tensor, to reveal bugs; costs 3 %. The attribute is missing in torch's annotations.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
