"""Ask a model the questions of a split: in batches, with the letters' logits, finished parts kept as it goes.

Parts of a fixed number of questions are written to a folder outside the stage's outs under a name that follows from
everything that decides the answers (questions, model, weights, clips). A run that was killed finds them there, skips
what is done and ends with the same table, byte for byte; so does any other number of processes, each of which takes
every so manieth part. Within a part questions are asked in the order of their length, so that little is padded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from synesthesia import schemas
from synesthesia.data.store import Store
from synesthesia.evaluation.resume import CACHE_DIR
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt, parse_letter
from synesthesia.utils import device, distributed

BATCHES_PER_PART = 8


class EvaluationError(ValueError):
    """Questions cannot be asked; the message says what lacks and what to do."""


class QuestionDataset(Dataset):
    """Batches of percepts and prompts for a model, decoded and prepared in loader workers."""

    def __init__(
        self, model: LanguageModel, questions: pa.Table, clips: pa.Table, store: str | Path, batch_size: int
    ) -> None:
        self.clip_locations = locate_clips(clips, questions["clip_id"].to_pylist())
        self.prompts = [format_prompt(o) for o in questions["options"].to_pylist()]
        self.model, self.store_folder, self.batch_size = model, str(store), batch_size
        self._store: Store | None = None
        self._sorted: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return -(-len(self.clip_locations) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[list[int], dict]:
        part, batch = divmod(index, BATCHES_PER_PART)
        if self._sorted[0] != part:
            questions = range(
                part * BATCHES_PER_PART * self.batch_size,
                min((part + 1) * BATCHES_PER_PART * self.batch_size, len(self.clip_locations)),
            )
            self._sorted = part, sorted(questions, key=self._length)
        chosen = self._sorted[1][batch * self.batch_size : (batch + 1) * self.batch_size]
        return chosen, self.load_batch(chosen)

    def load_batch(self, indices: Sequence[int]) -> dict:
        """Inputs of the model for these questions, by number."""
        percepts = [load_clip_inputs(self.store, *self.clip_locations[i], self.model.condition) for i in indices]
        return self.model.collate(percepts, [self.prompts[i] for i in indices])

    def _length(self, index: int) -> tuple[int, int]:
        """What decides how long the input is: pixels, where there are any, then the prompt's letters."""
        pixels = 0 if self.model.condition == "audio" else self.store.num_pixels(*self.clip_locations[index])
        return pixels, len(self.prompts[index])

    @property
    def store(self) -> Store:
        """The store, opened in the worker: memory maps do not travel."""
        if self._store is None:
            self._store = Store(self.store_folder)
        return self._store


def locate_clips(clips: pa.Table, clip_ids: Sequence[str]) -> list[tuple[int, int]]:
    """Shard and row of the wanted clips (tables.CLIP says where all of them lie)."""
    where = {c["clip_id"]: (c["shard"], c["row"]) for c in clips.select(["clip_id", "shard", "row"]).to_pylist()}
    return [where[clip_id] for clip_id in clip_ids]


def load_clip_inputs(store: Store, shard: int, row: int, condition: str) -> ClipInputs:
    """What a respondent of this condition perceives of a stored clip."""
    return ClipInputs(
        audio=None if condition == "silent_video" else store.audio(shard, row),
        frames=None if condition == "audio" else store.frames(shard, row),
    )


def make_dataloader(dataset: Dataset, indices: Sequence[int]) -> DataLoader:
    """Batches in the order of `indices`, prepared ahead in worker processes of one thread each."""
    workers = device.num_loader_workers()
    device.limit_threads(workers)
    return DataLoader(
        dataset,
        sampler=indices,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=_worker_init,
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )


def _worker_init(_: int) -> None:
    torch.set_num_threads(1)


def answer_questions(
    model: LanguageModel,
    questions: pa.Table,
    clips: pa.Table,
    store: str | Path,
    *,
    respondent: str,
    answer_mode: str,
    batch_size: int,
    cache_key: str,
    top_k_logits: int = 0,
    title: str = "",
) -> pa.Table:
    """Answers (tables.ANSWER) of `model` to the questions `asked` (tables.QUESTION), in their order.

    read: `letter_logits` (the likeliest of the letters) or `text` (what it says, null where that is no letter).
    likeliest_tokens: so many of the vocabulary's largest logits are kept with each answer.
    key: fingerprint of all that decides the answers; finished parts are kept under it.
    """
    folder = CACHE_DIR / "answers" / cache_key
    folder.mkdir(parents=True, exist_ok=True)
    batches = QuestionDataset(model, questions, clips, store, batch_size)
    parts = [list(range(s, min(s + BATCHES_PER_PART, len(batches)))) for s in range(0, len(batches), BATCHES_PER_PART)]
    files = [folder / f"part-{i:05d}.parquet" for i in range(len(parts))]
    missing = [i for i in range(len(files))[distributed.rank() :: distributed.world_size()] if not files[i].exists()]
    todo = [b for i in missing for b in parts[i]]
    prepared = iter(make_dataloader(batches, todo)) if todo else iter(())
    rows = questions.select(["question_id", "options"]).to_pylist()
    mine = sum(min(batch_size, questions.num_rows - b * batch_size) for b in todo)
    quiet = not distributed.is_main()
    with tqdm(total=mine, desc=title, unit="clip", mininterval=1, disable=quiet or not mine) as progress:
        for i in missing:
            part: dict[int, dict] = {}
            for _ in parts[i]:
                indices, inputs = next(prepared)
                asking = [rows[j] for j in indices]
                answers = _answer_batch(model, batches, indices, inputs, asking, respondent, answer_mode, top_k_logits)
                part |= dict(zip(indices, answers, strict=True))
                progress.update(len(indices))
            ordered = [part[j] for j in sorted(part)]
            schemas.write(schemas.from_rows(ordered, schemas.ANSWER, str(files[i])), files[i], schemas.ANSWER)
    if not files or quiet:
        return schemas.from_rows([], schemas.ANSWER, respondent)
    while not all(file.exists() for file in files):  # other processes' parts; the launcher ends all if one dies
        time.sleep(0.1)
    return pa.concat_tables(schemas.read(file, schemas.ANSWER) for file in files)


@torch.inference_mode()
def _answer_batch(
    model: LanguageModel,
    dataset: QuestionDataset,
    indices: list[int],
    inputs: dict,
    rows: list[dict],
    respondent: str,
    answer_mode: str,
    likeliest: int,
) -> list[dict]:
    answers = []
    for row, (values, text, tokens) in zip(rows, _forward(model, dataset, indices, inputs, likeliest), strict=True):
        options = row["options"]
        values = values[: len(options)]
        choice = int(values.argmax()) if answer_mode == "letter_logits" else parse_letter(text, options)
        answers.append(
            {
                "question_id": row["question_id"],
                "respondent": respondent,
                "condition": model.condition,
                "choice": choice,
                "letter_logits": values.tolist(),
                "text": text,
                "seconds": None,
                **tokens,
            }
        )
    return answers


def _forward(
    model: LanguageModel, dataset: QuestionDataset, indices: list[int], inputs: dict, top_k_logits: int
) -> list[tuple[np.ndarray, str, dict]]:
    """Letters' logits, what is said, and the likeliest tokens; in halves where the memory does not hold the batch."""
    try:
        logits = model.answer_logits(inputs)
        letters = model.letter_logits(logits).cpu().numpy().astype(np.float32)
        tokens = [{}] * len(indices)
        if top_k_logits:
            values, ids = (t.tolist() for t in logits.topk(min(top_k_logits, logits.shape[1])))
            tokens = [{"token_ids": i, "token_logits": v} for i, v in zip(ids, values, strict=True)]
        return list(zip(letters, model.greedy_token(logits), tokens, strict=True))
    except torch.cuda.OutOfMemoryError as error:
        if len(indices) == 1:
            free, total = torch.cuda.mem_get_info()
            raise EvaluationError(
                f"too little GPU memory for even one clip: {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free "
                "beside the model; use a card with more memory, a smaller model, or fewer pixels a frame "
                "(curate.max_pixels)"
            ) from error
    torch.cuda.empty_cache()
    half = len(indices) // 2
    parts = indices[:half], indices[half:]
    return [
        answer for part in parts for answer in _forward(model, dataset, part, dataset.load_batch(part), top_k_logits)
    ]
