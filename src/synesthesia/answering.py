"""Ask a model the questions of a split: in batches, with the letters' logits, finished parts kept as it goes.

Parts of a fixed number of questions are written to a folder outside the stage's outs under a name that follows from
everything that decides the answers (questions, model, weights, clips). A run that was killed finds them there, skips
what is done and ends with the same table, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from synesthesia import questions as wording
from synesthesia import tables
from synesthesia.models import device
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.store import Store

PARTIAL = Path("out/.partial")
PART_BATCHES = 8


class Questions(Dataset):
    """Batches of percepts and prompts for a model, decoded and prepared in loader workers."""

    def __init__(self, model: LanguageModel, asked: pa.Table, clips: pa.Table, store: str | Path, batch: int) -> None:
        self.places = places(clips, asked["clip_id"].to_pylist())
        self.prompts = [wording.prompt(o) for o in asked["options"].to_pylist()]
        self.model, self.folder, self.size = model, str(store), batch
        self.order: Sequence[int] = range(len(self.places))
        self._store: Store | None = None

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, index: int) -> tuple[list[int], dict]:
        if self._store is None:
            self._store = Store(self.folder)  # opened in the worker: memory maps do not travel
        chosen = [self.order[i] for i in range(index * self.size, min((index + 1) * self.size, len(self.order)))]
        percepts = [perceive(self._store, *self.places[i], self.model.condition) for i in chosen]
        return chosen, self.model.collate(percepts, [self.prompts[i] for i in chosen])


def places(clips: pa.Table, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Shard and row of the wanted clips (tables.CLIP says where all of them lie)."""
    where = {c["clip_id"]: (c["shard"], c["row"]) for c in clips.select(["clip_id", "shard", "row"]).to_pylist()}
    return [where[clip_id] for clip_id in wanted]


def perceive(store: Store, shard: int, row: int, condition: str) -> Percept:
    """What a respondent of this condition perceives of a stored clip."""
    return Percept(
        audio=None if condition == "silent_video" else store.audio(shard, row),
        frames=None if condition == "audio" else store.frames(shard, row),
    )


def loader(batches: Dataset, indices: Sequence[int]) -> DataLoader:
    """Batches in the order of `indices`, prepared ahead in worker processes of one thread each."""
    workers = device.loader_workers()
    device.share_processors(workers)
    return DataLoader(
        batches,
        sampler=indices,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        worker_init_fn=_one_thread,
        generator=torch.Generator().manual_seed(0),
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def fingerprint(*parts: object) -> str:
    """Short hash of JSON-able values and of files and folders (given as Path) by their content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    digest.update(str(file.relative_to(part)).encode())
                    with open(file, "rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:20]


def answer(
    model: LanguageModel,
    asked: pa.Table,
    clips: pa.Table,
    store: str | Path,
    *,
    respondent: str,
    read: str,
    batch: int,
    key: str,
    title: str = "",
) -> pa.Table:
    """Answers (tables.ANSWER) of `model` to the questions `asked` (tables.QUESTION), in their order.

    read: `letter_logits` (the likeliest of the letters) or `text` (what it says, null where that is no letter).
    key: fingerprint of all that decides the answers; finished parts are kept under it.
    """
    folder = PARTIAL / "answers" / key
    folder.mkdir(parents=True, exist_ok=True)
    batches = Questions(model, asked, clips, store, batch)
    parts = [list(range(s, min(s + PART_BATCHES, len(batches)))) for s in range(0, len(batches), PART_BATCHES)]
    files = [folder / f"part-{i:05d}.parquet" for i in range(len(parts))]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    todo = [b for i in missing for b in parts[i]]
    prepared = iter(loader(batches, todo)) if todo else iter(())
    rows = asked.select(["question_id", "options"]).to_pylist()
    with tqdm(total=asked.num_rows, desc=title, unit="clip", mininterval=1) as progress:
        progress.update(asked.num_rows - sum(min(batch, asked.num_rows - b * batch) for b in todo))
        for i in missing:
            part = []
            for _ in parts[i]:
                indices, inputs = next(prepared)
                part += _read(model, inputs, [rows[j] for j in indices], respondent, read)
                progress.update(len(indices))
            tables.write(tables.from_rows(part, tables.ANSWER, str(files[i])), files[i], tables.ANSWER)
    if not files:
        return tables.from_rows([], tables.ANSWER, respondent)
    return pa.concat_tables(tables.read(file, tables.ANSWER) for file in files)


@torch.inference_mode()
def _read(model: LanguageModel, inputs: dict, rows: list[dict], respondent: str, read: str) -> Iterator[dict]:
    logits = model.answer_logits(inputs)
    letters = model.letters(logits).cpu().numpy().astype(np.float32)
    said = model.said(logits)
    answers = []
    for row, values, text in zip(rows, letters, said, strict=True):
        options = row["options"]
        values = values[: len(options)]
        choice = int(values.argmax()) if read == "letter_logits" else wording.parse_letter(text, options)
        answers.append(
            {
                "question_id": row["question_id"],
                "respondent": respondent,
                "condition": model.condition,
                "choice": choice,
                "letter_logits": values.tolist(),
                "text": text,
                "seconds": None,
            }
        )
    return answers
