"""The order of training clips, and their micro-batches, prepared in dataloader workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from synesthesia.config import TrainingConfig
from synesthesia.data import clip_batches
from synesthesia.data.store import Store
from synesthesia.distillation.targets import Targets
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt

Batch = tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class DistillationDataset(Dataset):
    """Micro-batches by index: the student's inputs and their targets.

    Micro-batch i belongs to optimizer step i // micro_batches_per_step. No micro-batch spans two steps.

    Args:
        student: The student; its processor collates the inputs.
        targets: The targets, one per clip.
        clips: Clips (schemas.CLIP) that include those of the targets.
        store_dir: Folder of the clip store.
        training: Seed, epochs and global batch size.
        micro_batch_size: Clips per micro-batch; divides the global batch size.
    """

    def __init__(
        self,
        student: LanguageModel,
        targets: Targets,
        clips: pa.Table,
        store_dir: str | Path,
        training: TrainingConfig,
        micro_batch_size: int,
    ) -> None:
        self.clip_locations = clip_batches.locate_clips(clips, targets.questions["clip_id"].to_pylist())
        self.prompts = [format_prompt(options) for options in targets.questions["options"].to_pylist()]
        self.student, self.targets, self.store_dir = student, targets, str(store_dir)
        self.sample_order = make_sample_order(len(self.clip_locations), training)
        self.micro_batch_size, self.global_batch_size = micro_batch_size, training.global_batch_size
        self.micro_batches_per_step = training.global_batch_size // micro_batch_size
        self._store: Store | None = None

    @property
    def num_steps(self) -> int:
        """Number of optimizer steps; the last one may have fewer clips."""
        return -(-len(self.sample_order) // self.global_batch_size)

    def num_clips_in_step(self, step: int) -> int:
        """Return the number of clips of an optimizer step."""
        return min(self.global_batch_size, len(self.sample_order) - step * self.global_batch_size)

    def micro_batch_indices(self, step: int, rank: int = 0, world_size: int = 1) -> Sequence[int]:
        """Return the indices of a step's micro-batches that one process computes.

        Args:
            step: Optimizer step, from 0.
            rank: Rank of the process.
            world_size: Number of processes.

        Returns:
            Every world_size-th micro-batch of the step, from `rank`.
        """
        first = step * self.micro_batches_per_step
        return range(first, first + -(-self.num_clips_in_step(step) // self.micro_batch_size))[rank::world_size]

    def __getitem__(self, index: int) -> Batch:
        """Load one micro-batch, see `load_batch`."""
        step, position = divmod(index, self.micro_batches_per_step)
        first = step * self.global_batch_size + position * self.micro_batch_size
        last = min(first + self.micro_batch_size, (step + 1) * self.global_batch_size)
        return self.load_batch(self.sample_order[first:last])

    def load_batch(self, indices: np.ndarray) -> Batch:
        """Load inputs and targets of some clips.

        Args:
            indices: int64 (clips,), rows of the targets.

        Returns:
            The student's inputs on the CPU; labels int64 (clips,), kl_mask bool (clips,) and teacher_logits float32
            (clips, tokens), see `Targets`; and token_ids int64 (clips, tokens) of these logits.
        """
        if self._store is None:  # opened per worker: memory maps cannot be pickled
            self._store = Store(self.store_dir)
        clip_inputs = [
            clip_batches.load_clip_inputs(self._store, shard, row, self.student.condition)
            for shard, row in (self.clip_locations[i] for i in indices)
        ]
        inputs = self.student.collate(clip_inputs, [self.prompts[i] for i in indices])
        targets = self.targets
        if targets.token_ids is None:
            token_ids = self.student.letter_ids.repeat(len(indices), 1)
        else:
            token_ids = torch.as_tensor(targets.token_ids[indices])
        labels, kl_mask, teacher_logits = (
            torch.as_tensor(values[indices]) for values in (targets.labels, targets.kl_mask, targets.teacher_logits)
        )
        return inputs, labels, kl_mask, teacher_logits, token_ids

    def longest_prompts(self, num_clips: int) -> np.ndarray:
        """Return the indices of the clips with the longest prompts, which need the most memory."""
        return np.argsort([-len(prompt) for prompt in self.prompts], kind="stable")[:num_clips]


def make_sample_order(num_clips: int, training: TrainingConfig) -> np.ndarray:
    """Make the order of training clips: a new permutation per epoch, the last one possibly cut.

    Args:
        num_clips: Number of clips.
        training: Seed and number of epochs, which may be a fraction.

    Returns:
        int64 (max(1, round(num_clips * epochs)),), indices of clips.
    """
    num_samples = max(1, round(num_clips * training.epochs))
    num_epochs = -(-num_samples // num_clips)
    permutations = [np.random.default_rng([training.seed, epoch]).permutation(num_clips) for epoch in range(num_epochs)]
    return np.concatenate(permutations)[:num_samples]
