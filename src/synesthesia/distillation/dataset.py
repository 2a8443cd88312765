"""The order in which clips are learnt, and their micro-batches, prepared in loader workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synesthesia.config import TrainingConfig
from synesthesia.data.store import Store
from synesthesia.distillation.targets import Targets
from synesthesia.evaluation import local
from synesthesia.models.base import LanguageModel
from synesthesia.questions import sampling as wording


class DistillationDataset(Dataset):
    """Micro-batches by number: the student's inputs and what to learn from them.

    Micro-batch n of `micro` clips belongs to optimizer step n // per_step. No micro-batch reaches over a step's end.
    """

    def __init__(
        self,
        student: LanguageModel,
        targets: Targets,
        clips,
        store: str | Path,
        training: TrainingConfig,
        micro_batch_size: int,
    ) -> None:
        self.clip_locations = local.locate_clips(clips, targets.questions["clip_id"].to_pylist())
        self.prompts = [wording.format_prompt(o) for o in targets.questions["options"].to_pylist()]
        self.student, self.targets, self.store_path = student, targets, str(store)
        self.sample_order = make_sample_order(len(self.clip_locations), training)
        self.micro_batch_size, self.global_batch_size = micro_batch_size, training.global_batch_size
        self.per_step = training.global_batch_size // micro_batch_size
        self._store: Store | None = None

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all; the last may have fewer clips."""
        return -(-len(self.sample_order) // self.global_batch_size)

    def num_clips_in_step(self, step: int) -> int:
        """Clips of a step."""
        return min(self.global_batch_size, len(self.sample_order) - step * self.global_batch_size)

    def micro_batch_indices(self, step: int, rank: int = 0, world_size: int = 1) -> Sequence[int]:
        """Numbers of a step's micro-batches that this process computes."""
        first = step * self.per_step
        return range(first, first + -(-self.num_clips_in_step(step) // self.micro_batch_size))[rank::world_size]

    def __getitem__(self, index: int) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        step, piece = divmod(index, self.per_step)
        first = step * self.global_batch_size + piece * self.micro_batch_size
        chosen = self.sample_order[first : min(first + self.micro_batch_size, (step + 1) * self.global_batch_size)]
        return self.load_batch(chosen)

    def load_batch(self, indices: np.ndarray) -> tuple[dict, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs, letters, soft and teacher's logits of these clips (see Targets), and the tokens of those logits."""
        if self._store is None:
            self._store = Store(self.store_path)
        percepts = [
            local.load_clip_inputs(self._store, *self.clip_locations[i], self.student.condition) for i in indices
        ]
        inputs = self.student.collate(percepts, [self.prompts[i] for i in indices])
        of = self.targets
        tokens = self.student.letter_ids.repeat(len(indices), 1) if of.token_ids is None else of.token_ids[indices]
        taught = of.labels[indices], of.kl_mask[indices], of.teacher_logits[indices], tokens
        return inputs, *(torch.as_tensor(values) for values in taught)

    def longest_prompts(self, num_clips: int) -> np.ndarray:
        """Indices of the clips with the longest prompts: what memory must suffice for."""
        return np.argsort([-len(prompt) for prompt in self.prompts], kind="stable")[:num_clips]


def make_sample_order(num_clips: int, training: TrainingConfig) -> np.ndarray:
    """Indices of the clips in the order they are learnt: a new permutation each epoch, the last one maybe in part."""
    total = max(1, round(num_clips * training.epochs))
    epochs = -(-total // num_clips)
    rounds = [np.random.default_rng([training.seed, epoch]).permutation(num_clips) for epoch in range(epochs)]
    return np.concatenate(rounds)[:total]
