"""The order in which clips are learnt, and their micro-batches, prepared in loader workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synesthesia.config import Training
from synesthesia.data.store import Store
from synesthesia.distillation.targets import Targets
from synesthesia.evaluation import local
from synesthesia.models.base import LanguageModel
from synesthesia.questions import sampling as wording


class Lessons(Dataset):
    """Micro-batches by number: the student's inputs and what to learn from them.

    Micro-batch n of `micro` clips belongs to optimizer step n // per_step. No micro-batch reaches over a step's end.
    """

    def __init__(
        self, student: LanguageModel, targets: Targets, clips, store: str | Path, training: Training, micro: int
    ) -> None:
        self.places = local.places(clips, targets.questions["clip_id"].to_pylist())
        self.prompts = [wording.prompt(o) for o in targets.questions["options"].to_pylist()]
        self.student, self.targets, self.folder = student, targets, str(store)
        self.order = order(len(self.places), training)
        self.micro, self.effective = micro, training.effective_batch
        self.per_step = training.effective_batch // micro
        self._store: Store | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in all; the last may have fewer clips."""
        return -(-len(self.order) // self.effective)

    def clips_of(self, step: int) -> int:
        """Clips of a step."""
        return min(self.effective, len(self.order) - step * self.effective)

    def of(self, step: int, rank: int = 0, world: int = 1) -> Sequence[int]:
        """Numbers of a step's micro-batches that this process computes."""
        first = step * self.per_step
        return range(first, first + -(-self.clips_of(step) // self.micro))[rank::world]

    def __getitem__(self, number: int) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        step, piece = divmod(number, self.per_step)
        first = step * self.effective + piece * self.micro
        chosen = self.order[first : min(first + self.micro, (step + 1) * self.effective)]
        return self.batch(chosen)

    def batch(self, chosen: np.ndarray) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs, letters, soft and teacher's logits of these clips (see Targets), and the tokens of those logits."""
        if self._store is None:
            self._store = Store(self.folder)
        percepts = [local.perceive(self._store, *self.places[i], self.student.condition) for i in chosen]
        inputs = self.student.collate(percepts, [self.prompts[i] for i in chosen])
        of = self.targets
        tokens = self.student.letter_ids.repeat(len(chosen), 1) if of.tokens is None else of.tokens[chosen]
        taught = of.letters[chosen], of.soft[chosen], of.teacher_logits[chosen], tokens
        return inputs, *(torch.as_tensor(values) for values in taught)

    def longest(self, clips: int) -> np.ndarray:
        """Indices of the clips with the longest prompts: what memory must suffice for."""
        return np.argsort([-len(prompt) for prompt in self.prompts], kind="stable")[:clips]


def order(clips: int, training: Training) -> np.ndarray:
    """Indices of the clips in the order they are learnt: a new permutation each epoch, the last one maybe in part."""
    total = max(1, round(clips * training.epochs))
    epochs = -(-total // clips)
    rounds = [np.random.default_rng([training.seed, epoch]).permutation(clips) for epoch in range(epochs)]
    return np.concatenate(rounds)[:total]
