"""The forward and backward pass of a micro-batch: eager here, or captured as a CUDA graph by `acceleration`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from synesthesia.acceleration.cuda_graph import CUDAGraphStep
from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.config import TrainingConfig
from synesthesia.distillation.losses import distillation_loss
from synesthesia.models.base import LanguageModel
from synesthesia.utils.device import to_device

Tensors = dict[str, torch.Tensor]


def loss_targets(student: LanguageModel, batch: tuple) -> Tensors:
    """Name what the loss compares with.

    Args:
        student: The student, for the token ids of its letters.
        batch: A micro-batch of `DistillationDataset`, on the CPU.

    Returns:
        target_ids int64 (clips,), label_mask bool (clips,), kl_mask bool (clips,), teacher_logits float32 (clips,
        tokens) and token_ids int64 (clips, tokens), on the CPU.
    """
    _, labels, kl_mask, teacher_logits, token_ids = batch
    return {
        "target_ids": student.letter_ids[labels.clamp(min=0)],
        "label_mask": labels >= 0,
        "kl_mask": kl_mask,
        "teacher_logits": teacher_logits,
        "token_ids": token_ids,
    }


def compute_loss(
    logits: torch.Tensor, targets: Tensors, training: TrainingConfig, normalize: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss of a micro-batch, see `losses.distillation_loss`.

    Args:
        logits: Float32 (clips, vocabulary) at the answer positions.
        targets: As `loss_targets` returns them, on the device of the logits.
        training: Temperature and weight of the KL divergence.
        normalize: Divides a sum over the micro-batch by the clips of the whole step.

    Returns:
        The scalar loss, and its two parts detached, float32 (2,): cross-entropy and KL divergence.
    """
    names = ("target_ids", "label_mask", "teacher_logits", "token_ids", "kl_mask")
    return distillation_loss(
        logits,
        **{name: targets[name] for name in names},
        kl_weight=training.kl_weight,
        temperature=training.temperature,
        normalize=normalize,
    )


class EagerStep:
    """Adds gradients of micro-batches (see `DistillationDataset`) to the `grad` of the trainable parameters."""

    def __init__(self, student: LanguageModel, training: TrainingConfig) -> None:
        self.student, self.training = student, training
        grouped = student.acceleration.fused_lora and str(student.device).startswith("cuda")
        self._lora_weights = build_lora_weights(student.model, grouped=grouped)

    def prefetch(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """Yield the batches unchanged: nothing is prefetched."""
        return iter(batches)

    def forward_backward(self, batch: tuple, num_clips: int) -> torch.Tensor:
        """Add the gradients of one micro-batch of a step of `num_clips` clips.

        Args:
            batch: A micro-batch of `DistillationDataset`, on the CPU.
            num_clips: Clips of the whole step; each loss is divided by it.

        Returns:
            The micro-batch's part of cross-entropy and KL divergence, float32 (2,), on the student's device.
        """
        device = self.student.device
        targets = {name: to_device(tensor, device) for name, tensor in loss_targets(self.student, batch).items()}
        self._lora_weights.refresh()
        logits = self.student.answer_logits(batch[0])
        loss, parts = compute_loss(logits, targets, self.training, lambda total: total / num_clips)
        self._lora_weights.backward(loss)
        return parts


class GraphStep:
    """`EagerStep` through a CUDA graph."""

    def __init__(
        self, student: LanguageModel, trainable_params: list[torch.nn.Parameter], training: TrainingConfig
    ) -> None:
        def loss_of(logits: torch.Tensor, inputs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            return compute_loss(logits, inputs, training, lambda total: total * inputs["loss_scale"])

        self._student = student
        self._graphs = CUDAGraphStep(student, trainable_params, loss_of)

    def prefetch(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """Embed each micro-batch while the one before is trained on, see `CUDAGraphStep.prefetch`."""
        return self._graphs.prefetch((batch[0], loss_targets(self._student, batch)) for batch in batches)

    def forward_backward(self, batch: tuple, num_clips: int) -> torch.Tensor:
        """As `EagerStep.forward_backward`, of what `prefetch` yields."""
        return self._graphs.forward_backward(batch, num_clips)


def make_step(
    student: LanguageModel, trainable_params: list[torch.nn.Parameter], training: TrainingConfig
) -> EagerStep | GraphStep:
    """Choose how micro-batches are computed.

    Args:
        student: The student, with its adapter.
        trainable_params: Its trainable parameters; each has a `grad` that stays the same tensor.
        training: Temperature and weight of the KL divergence.

    Returns:
        A CUDA graph where `acceleration.cuda_graph` asks for it and the student allows it: compiled, on a GPU, cut at
        the answer position, without dropout; otherwise the eager step.
    """
    switches = student.acceleration
    wanted = switches.cuda_graph and switches.last_token_only and switches.flat_gradients and student.is_compiled
    possible = student.is_prenorm and student.supports_cuda_graph and not student.has_dropout
    if wanted and possible and str(student.device).startswith("cuda"):
        return GraphStep(student, trainable_params, training)
    return EagerStep(student, training)
