"""The forward and backward pass of a micro-batch: operation by operation here, as a CUDA graph in `replay`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from synesthesia.acceleration.cuda_graph import CUDAGraphStep
from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.config import TrainingConfig
from synesthesia.distillation.losses import kl_divergence, letter_cross_entropy
from synesthesia.models.base import LanguageModel
from synesthesia.utils.device import to_device


class EagerStep:
    """Adds gradients of micro-batches (see Lessons) to the `grad` of what the student learns."""

    def __init__(self, student: LanguageModel, training: TrainingConfig) -> None:
        self.student, self.training = student, training
        self._lora_weights = build_lora_weights(student.model, grouped=str(student.device).startswith("cuda"))

    def prefetch(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """The batches as `learn` takes them: as they are."""
        return iter(batches)

    def forward_backward(self, batch: tuple, num_clips: int) -> torch.Tensor:
        """Gradients of one micro-batch of a step of `clips` clips; its share of the two losses, float32 (2,)."""
        inputs = batch[0]
        device = self.student.device
        letters, soft, teacher, tokens = (to_device(t, device) for t in batch[1:])
        self._lora_weights.refresh()
        logits = self.student.answer_logits(inputs)
        said = to_device(self.student.letter_ids, device)[letters.clamp(min=0)]
        hard = letter_cross_entropy(logits, said, letters >= 0) / num_clips
        close = kl_divergence(logits.gather(1, tokens), teacher, soft, self.training.temperature) / num_clips
        self._lora_weights.backward(hard + self.training.kl_weight * close)
        return torch.stack([hard.detach(), close.detach()])


def make_step(
    student: LanguageModel, trainable_params: list[torch.nn.Parameter], training: TrainingConfig
) -> EagerStep | CUDAGraphStep:
    """Replay where the student is compiled on a GPU and nothing is random; `learnt` have their `grad` already."""
    plain = student.is_prenorm and student.supports_cuda_graph
    if student.is_compiled and plain and not student.has_dropout and str(student.device).startswith("cuda"):
        return CUDAGraphStep(student, trainable_params, training)
    return EagerStep(student, training)
