"""The forward and backward pass of a micro-batch: operation by operation here, as a CUDA graph in `replay`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from synesthesia.acceleration.cuda_graph import Replay
from synesthesia.acceleration.lora_grouped import small_weights
from synesthesia.config import Training
from synesthesia.distillation.losses import divergence, letter_cross_entropy
from synesthesia.models.base import LanguageModel
from synesthesia.utils.device import send


class Direct:
    """Adds gradients of micro-batches (see Lessons) to the `grad` of what the student learns."""

    def __init__(self, student: LanguageModel, training: Training) -> None:
        self.student, self.training = student, training
        self._small = small_weights(student.model, together=str(student.device).startswith("cuda"))

    def ahead(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """The batches as `learn` takes them: as they are."""
        return iter(batches)

    def learn(self, batch: tuple, clips: int) -> torch.Tensor:
        """Gradients of one micro-batch of a step of `clips` clips; its share of the two losses, float32 (2,)."""
        inputs = batch[0]
        device = self.student.device
        letters, soft, teacher, tokens = (send(t, device) for t in batch[1:])
        self._small.renew()
        logits = self.student.answer_logits(inputs)
        said = send(self.student.letter_ids, device)[letters.clamp(min=0)]
        hard = letter_cross_entropy(logits, said, letters >= 0) / clips
        close = divergence(logits.gather(1, tokens), teacher, soft, self.training.temperature) / clips
        self._small.backward(hard + self.training.kl_weight * close)
        return torch.stack([hard.detach(), close.detach()])


def fastest(student: LanguageModel, learnt: list[torch.nn.Parameter], training: Training) -> Direct | Replay:
    """Replay where the student is compiled on a GPU and nothing is random; `learnt` have their `grad` already."""
    plain = student.plain_decoder and student.replayable
    if student.compiled and plain and not student.random and str(student.device).startswith("cuda"):
        return Replay(student, learnt, training)
    return Direct(student, training)
