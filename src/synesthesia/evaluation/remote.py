"""Asks a text-only model (`models/text_model.py`) the questions of a split, in threads.

It writes the same parts into the same folder as `local.py`, without torch. Replies come in any order; a part is
written when its last reply is in. If a question fails, requests in flight are finished first, so that only parts that
are not full are lost of what was paid for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from synesthesia import schemas
from synesthesia.data.store import Store
from synesthesia.evaluation.resume import CACHE_DIR
from synesthesia.models.errors import ModelError
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.questions.parsing import is_sentence, parse_letter
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils import distributed

MIN_FIRST_BATCH, MIN_FIRST_REFUSALS = 4, 32  # replies


def answer_questions(
    model: TextOnlyModel,
    questions: pa.Table,
    clips: pa.Table,
    store: str | Path,
    *,
    respondent: str,
    answer_mode: str,
    batch_size: int,
    cache_key: str,
    title: str = "",
) -> pa.Table:
    """Ask a text-only model questions about stored clips. Only the main process asks.

    Args:
        model: The model.
        questions: Questions (schemas.QUESTION).
        clips: Clips (schemas.CLIP) that include those of the questions.
        store: Folder of the clip store.
        respondent: Name of the model in the answers.
        answer_mode: `letter_logits` (the letter with the highest log-probability if the model returns any, else its
            text) or `text`.
        batch_size: Questions per part.
        cache_key: Fingerprint of everything that determines the answers; finished parts are kept under it.
        title: Description of the progress bar.

    Returns:
        Answers (schemas.ANSWER) in the order of the questions; an empty table in every process but the main one.

    Raises:
        ModelError: The model would answer no further question.
    """
    if not distributed.is_main() or not questions.num_rows:
        return schemas.from_rows([], schemas.ANSWER, respondent)
    cache_dir = CACHE_DIR / "answers" / cache_key
    cache_dir.mkdir(parents=True, exist_ok=True)
    locations = {c["clip_id"]: (c["shard"], c["row"]) for c in clips.select(["clip_id", "shard", "row"]).to_pylist()}
    rows, clip_store = questions.to_pylist(), Store(store)
    files = [cache_dir / f"part-{i:05d}.parquet" for i in range(-(-len(rows) // batch_size))]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    indices = [j for i in missing for j in range(i * batch_size, min((i + 1) * batch_size, len(rows)))]
    answers: dict[int, dict] = {}
    first_batch = _FirstBatch(max(batch_size, MIN_FIRST_BATCH) if len(missing) == len(files) else 0)
    store_lock = threading.Lock()  # the store is not thread-safe; decoding is short compared with the request

    def answer_one(j: int) -> tuple[dict, bool]:
        with store_lock:
            clip = load_clip_inputs(clip_store, *locations[rows[j]["clip_id"]], model.condition)
        options = rows[j]["options"]
        reply = model.reply(clip, format_prompt(options), len(options))
        return to_answer_row(rows[j], reply, respondent, model.condition, answer_mode), reply.is_refused

    num_unparseable = 0
    with tqdm(total=len(rows), initial=len(rows) - len(indices), desc=title, unit="clip", mininterval=1) as progress:
        for j, (answer, is_refused) in _as_completed(model, answer_one, indices):
            first_batch.check(answer, is_refused)
            answers[j] = answer
            num_unparseable += answer["choice"] is None
            progress.set_postfix(unparseable=num_unparseable, refresh=False)
            progress.update()
            part = range(j // batch_size * batch_size, min((j // batch_size + 1) * batch_size, len(rows)))
            if all(k in answers for k in part):
                table = schemas.from_rows([answers.pop(k) for k in part], schemas.ANSWER, title)
                schemas.write(table, files[j // batch_size], schemas.ANSWER)
    return pa.concat_tables(schemas.read(file, schemas.ANSWER) for file in files)


class _FirstBatch:
    """Stops a run whose first replies are all unreadable: the cause is a setting, and thousands would follow.

    Refusals count too, but more of them are needed: a filter may refuse all clips of the first label.
    """

    def __init__(self, size: int) -> None:
        self.size, self.texts, self.num_refused = size, [], 0

    def check(self, answer: dict, is_refused: bool) -> None:
        """Take note of a reply.

        Raises:
            ModelError: It completes the first batch, and no reply named a letter.
        """
        if not self.size:
            return
        if answer["choice"] is not None:
            self.size = 0
            return
        self.texts.append("(refused)" if is_refused else answer["text"])
        self.num_refused += is_refused
        if len(self.texts) >= (max(self.size, MIN_FIRST_REFUSALS) if self.num_refused else self.size):
            examples = ", ".join(f"{text!r:.80}" for text in dict.fromkeys(self.texts[:3]))
            raise ModelError(
                f"none of the first {len(self.texts)} replies names a letter: {examples}; check the model, its prompt "
                "template, and its limit of tokens (max_tokens), then run the same command again"
            )


def _as_completed(
    model: TextOnlyModel, answer_one: Callable[[int], tuple[dict, bool]], indices: Sequence[int]
) -> Iterator[tuple[int, tuple[dict, bool]]]:
    """Yield (question, answer) as replies come in, with `model.concurrency` requests in flight.

    The first error is raised after the requests in flight are finished.
    """
    remaining, first_error = iter(indices), None
    with ThreadPoolExecutor(model.concurrency) as pool:
        running: dict[Future, int] = {pool.submit(answer_one, j): j for j in islice(remaining, model.concurrency)}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    j = running.pop(future)
                    if future.exception() is not None:
                        first_error = first_error or future.exception()
                        _stop(model)
                        continue
                    yield j, future.result()
                    if first_error is None and (next_index := next(remaining, None)) is not None:
                        running[pool.submit(answer_one, next_index)] = next_index
        finally:
            if running:  # an interrupt, or an error in what the caller does with the answers
                _stop(model)
    if first_error is not None:
        raise first_error


def _stop(model: TextOnlyModel) -> None:
    stop = getattr(model, "stop", None)
    if stop:
        stop()


def load_clip_inputs(store: Store, shard: int, row: int, condition: str) -> EncodedClipInputs:
    """Load a stored clip with its frames as JPEG files, limited to what a respondent of this condition perceives.

    Args:
        store: The clip store.
        shard: Index of the shard.
        row: Row in the shard.
        condition: `audio`, `silent_video`, or `sounded_video`.

    Returns:
        Audio, JPEG files, or both.
    """
    return EncodedClipInputs(
        audio=None if condition == "silent_video" else store.audio(shard, row),
        jpegs=None if condition == "audio" else tuple(store.jpegs(shard, row)),
    )


def to_answer_row(question: dict, reply: Reply, respondent: str, condition: str, answer_mode: str) -> dict:
    """Convert a reply to an answer.

    Args:
        question: Row of schemas.QUESTION.
        reply: The model's reply.
        respondent: Name of the model.
        condition: Its condition.
        answer_mode: See `answer_questions`.

    Returns:
        Row of schemas.ANSWER; the choice is None if the reply names no letter, and then counts as wrong.
    """
    logprobs = reply.letter_logprobs
    if logprobs is not None and is_sentence(reply.text, question["options"]):
        logprobs = None  # those of "I" in "I think it is B", which is no letter
    if answer_mode == "letter_logits" and logprobs is not None:
        choice = int(np.argmax(logprobs))
    else:
        choice = parse_letter(reply.text, question["options"])
    return {
        "question_id": question["question_id"],
        "respondent": respondent,
        "condition": condition,
        "choice": choice,
        "letter_logits": None if logprobs is None else list(logprobs),
        "text": reply.text,
        "seconds": None,
    }
