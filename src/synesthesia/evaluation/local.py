"""Asks a model on this machine the questions of a split, in batches, and keeps its letter logits.

Parts of a fixed number of questions are written to a folder outside the stage's outputs, whose name follows from
everything that determines the answers (questions, model, weights, clips). An interrupted run resumes there and ends
with the same table, byte for byte. The result is independent of the world size; rank r handles every world_size-th
part.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from synesthesia import schemas
from synesthesia.data.clip_batches import QuestionDataset, make_dataloader
from synesthesia.evaluation.resume import CACHE_DIR
from synesthesia.models.base import LanguageModel
from synesthesia.questions.parsing import parse_letter
from synesthesia.utils import distributed

BATCHES_PER_PART = 8


class EvaluationError(ValueError):
    """Questions cannot be asked; the message says what is missing and what to do."""


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
    """Ask a model questions about stored clips.

    Args:
        model: The model.
        questions: Questions (schemas.QUESTION).
        clips: Clips (schemas.CLIP) that include those of the questions.
        store: Folder of the clip store.
        respondent: Name of the model in the answers.
        answer_mode: `letter_logits` (the letter with the highest logit) or `text` (the letter that the model replies
            with, null if the reply is not a letter).
        batch_size: Questions per batch.
        cache_key: Fingerprint of everything that determines the answers; finished parts are kept under it.
        top_k_logits: Number of highest logits of the vocabulary stored with each answer.
        title: Description of the progress bar.

    Returns:
        Answers (schemas.ANSWER) in the order of the questions; an empty table in every process but the main one.

    Raises:
        EvaluationError: The GPU's memory does not hold one clip.
    """
    cache_dir = CACHE_DIR / "answers" / cache_key
    cache_dir.mkdir(parents=True, exist_ok=True)
    dataset = QuestionDataset(model, questions, clips, store, batch_size, BATCHES_PER_PART)
    parts = [list(range(s, min(s + BATCHES_PER_PART, len(dataset)))) for s in range(0, len(dataset), BATCHES_PER_PART)]
    files = [cache_dir / f"part-{i:05d}.parquet" for i in range(len(parts))]
    local_parts = range(len(files))[distributed.rank() :: distributed.world_size()]
    missing = [i for i in local_parts if not files[i].exists()]
    batches = [b for i in missing for b in parts[i]]
    loaded_batches = iter(make_dataloader(dataset, batches)) if batches else iter(())
    rows = questions.select(["question_id", "options"]).to_pylist()
    num_clips = sum(min(batch_size, questions.num_rows - b * batch_size) for b in batches)
    is_main = distributed.is_main()
    with tqdm(total=num_clips, desc=title, unit="clip", mininterval=1, disable=not (is_main and num_clips)) as progress:
        for i in missing:
            answers: dict[int, dict] = {}
            for _ in parts[i]:
                indices, inputs = next(loaded_batches)
                batch_rows = [rows[j] for j in indices]
                batch_answers = _answer_batch(
                    model, dataset, indices, inputs, batch_rows, respondent, answer_mode, top_k_logits
                )
                answers |= dict(zip(indices, batch_answers, strict=True))
                progress.update(len(indices))
            ordered = [answers[j] for j in sorted(answers)]
            schemas.write(schemas.from_rows(ordered, schemas.ANSWER, str(files[i])), files[i], schemas.ANSWER)
    if not files or not is_main:
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
    top_k_logits: int,
) -> list[dict]:
    """Return one row (schemas.ANSWER) per question of a batch."""
    answers = []
    outputs = _forward(model, dataset, indices, inputs, top_k_logits)
    for row, (letter_logits, text, top_k) in zip(rows, outputs, strict=True):
        options = row["options"]
        letter_logits = letter_logits[: len(options)]
        choice = int(letter_logits.argmax()) if answer_mode == "letter_logits" else parse_letter(text, options)
        answers.append(
            {
                "question_id": row["question_id"],
                "respondent": respondent,
                "condition": model.condition,
                "choice": choice,
                "letter_logits": letter_logits.tolist(),
                "text": text,
                "seconds": None,
                **top_k,
            }
        )
    return answers


def _forward(
    model: LanguageModel, dataset: QuestionDataset, indices: list[int], inputs: dict, top_k_logits: int
) -> list[tuple[np.ndarray, str, dict]]:
    """Run the model on a batch, in halves if the GPU's memory does not hold the batch.

    Returns:
        Per question: letter logits float32 (letters,), the token predicted from the whole vocabulary, and the highest
        logits, if asked for.
    """
    try:
        logits = model.answer_logits(inputs)
        letter_logits = model.letter_logits(logits).cpu().numpy().astype(np.float32)
        top_k: list[dict] = [{}] * len(indices)
        if top_k_logits:
            values, ids = (t.tolist() for t in logits.topk(min(top_k_logits, logits.shape[1])))
            top_k = [{"token_ids": i, "token_logits": v} for i, v in zip(ids, values, strict=True)]
        return list(zip(letter_logits, model.greedy_token(logits), top_k, strict=True))
    except torch.cuda.OutOfMemoryError as error:
        if len(indices) == 1:
            free, total = torch.cuda.mem_get_info()
            raise EvaluationError(
                f"not enough GPU memory for one clip: {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free next to "
                "the model; use a GPU with more memory, a smaller model, or fewer pixels per frame (curate.max_pixels)"
            ) from error
    torch.cuda.empty_cache()
    half = len(indices) // 2
    halves = indices[:half], indices[half:]
    return [
        output for part in halves for output in _forward(model, dataset, part, dataset.load_batch(part), top_k_logits)
    ]
