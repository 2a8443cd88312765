"""Batches of stored clips as a model's inputs, prepared in dataloader workers; evaluation and training share them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.data.store import Store
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils import device


class Collator(Protocol):
    """What a batch needs from a model (`models.base.LanguageModel`)."""

    condition: str

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return tensors on the CPU, one row per clip."""
        ...


class QuestionDataset(Dataset):
    """Batches of questions by index: indices of the questions, and the model's inputs.

    Within a part, questions are sorted by the length of their input, so that little is padded.

    Args:
        model: Its processor collates the inputs.
        questions: Questions (schemas.QUESTION).
        clips: Clips (schemas.CLIP) that include those of the questions.
        store_dir: Folder of the clip store.
        batch_size: Questions per batch.
        batches_per_part: Batches per part.
    """

    def __init__(
        self,
        model: Collator,
        questions: pa.Table,
        clips: pa.Table,
        store_dir: str | Path,
        batch_size: int,
        batches_per_part: int,
    ) -> None:
        self.clip_locations = locate_clips(clips, questions["clip_id"].to_pylist())
        self.prompts = [format_prompt(options) for options in questions["options"].to_pylist()]
        self.model, self.store_dir = model, str(store_dir)
        self.batch_size, self.batches_per_part = batch_size, batches_per_part
        self._store: Store | None = None
        self._sorted_part: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.clip_locations) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[list[int], dict[str, torch.Tensor]]:
        """Return the indices of a batch's questions, and the inputs, see `load_batch`."""
        part, batch = divmod(index, self.batches_per_part)
        if self._sorted_part[0] != part:
            part_size = self.batches_per_part * self.batch_size
            questions = range(part * part_size, min((part + 1) * part_size, len(self.clip_locations)))
            self._sorted_part = part, sorted(questions, key=self._sort_key)
        indices = self._sorted_part[1][batch * self.batch_size : (batch + 1) * self.batch_size]
        return indices, self.load_batch(indices)

    def load_batch(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Load the model's inputs for some questions.

        Args:
            indices: Indices of the questions.

        Returns:
            Tensors on the CPU, as `collate` of the model returns them.
        """
        clip_inputs = [load_clip_inputs(self.store, *self.clip_locations[i], self.model.condition) for i in indices]
        return self.model.collate(clip_inputs, [self.prompts[i] for i in indices])

    def _sort_key(self, index: int) -> tuple[int, int]:
        """Return what determines the length of the input: pixels, if any, then characters of the prompt."""
        pixels = 0 if self.model.condition == "audio" else self.store.num_pixels(*self.clip_locations[index])
        return pixels, len(self.prompts[index])

    @property
    def store(self) -> Store:
        """The store, opened per worker: memory maps cannot be pickled."""
        if self._store is None:
            self._store = Store(self.store_dir)
        return self._store


def locate_clips(clips: pa.Table, clip_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Look up where clips lie in the store.

    Args:
        clips: Clips (schemas.CLIP).
        clip_ids: Ids of some of them.

    Returns:
        Shard and row of each id.

    Raises:
        KeyError: An id is not among the clips.
    """
    locations = {c["clip_id"]: (c["shard"], c["row"]) for c in clips.select(["clip_id", "shard", "row"]).to_pylist()}
    return [locations[clip_id] for clip_id in clip_ids]


def load_clip_inputs(store: Store, shard: int, row: int, condition: str) -> ClipInputs:
    """Load a stored clip, limited to what a respondent of this condition perceives.

    Args:
        store: The clip store.
        shard: Index of the shard.
        row: Row in the shard.
        condition: `audio`, `silent_video`, or `sounded_video`.

    Returns:
        Audio, frames, or both.
    """
    return ClipInputs(
        audio=None if condition == "silent_video" else store.audio(shard, row),
        frames=None if condition == "audio" else store.frames(shard, row),
    )


def make_dataloader(dataset: Dataset, indices: Sequence[int]) -> DataLoader:
    """Make a dataloader over a dataset whose items are batches.

    Args:
        dataset: Returns a batch per index.
        indices: Indices of the batches, in the order in which they are needed.

    Returns:
        A dataloader that prefetches in worker processes of one thread each.
    """
    num_workers = device.num_loader_workers()
    device.limit_threads(num_workers)
    return DataLoader(
        dataset,
        sampler=indices,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=4,
        worker_init_fn=_worker_init,
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )


def _worker_init(_: int) -> None:
    torch.set_num_threads(1)
