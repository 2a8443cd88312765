"""Ask a model that only talks (models/talker.py) the questions of a split: threads, finished parts kept as it goes.

The same parts in the same folder as answering.py's, without torch. Replies come in any order; a part is written when
its last one is in. Where a question cannot be asked, those under way are finished first, so that nothing paid for is
lost but the parts that were not full.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from synesthesia import schemas
from synesthesia.data.store import Store
from synesthesia.evaluation.resume import CACHE_DIR
from synesthesia.models.text_model import EncodedClipInputs, Reply, TextOnlyModel
from synesthesia.questions.prompt import format_prompt, parse_letter
from synesthesia.utils import distributed


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
    """Answers (tables.ANSWER) of `talker` to the questions `asked` (tables.QUESTION), in their order.

    read: `letter_logits` (the likeliest letter where the talker gives log-probabilities, else its text) or `text`;
    batch: questions a part; key: fingerprint of all that decides the answers. One process asks, others have nothing.
    """
    if not distributed.is_main() or not questions.num_rows:
        return schemas.from_rows([], schemas.ANSWER, respondent)
    folder = CACHE_DIR / "answers" / cache_key
    folder.mkdir(parents=True, exist_ok=True)
    where = {c["clip_id"]: (c["shard"], c["row"]) for c in clips.select(["clip_id", "shard", "row"]).to_pylist()}
    rows, shelf = questions.to_pylist(), Store(store)
    files = [folder / f"part-{i:05d}.parquet" for i in range(-(-len(rows) // batch_size))]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    todo = [j for i in missing for j in range(i * batch_size, min((i + 1) * batch_size, len(rows)))]
    found: dict[int, dict] = {}
    one_at_a_time = threading.Lock()  # decoding is short beside the request, and the store is no thread's own

    def one(j: int) -> dict:
        with one_at_a_time:
            clip = load_clip_inputs(shelf, *where[rows[j]["clip_id"]], model.condition)
        options = rows[j]["options"]
        reply = model.reply(clip, format_prompt(options), len(options))
        return to_answer_row(rows[j], reply, respondent, model.condition, answer_mode)

    unread = 0
    with tqdm(total=len(rows), initial=len(rows) - len(todo), desc=title, unit="clip", mininterval=1) as progress:
        for j, answered in _as_completed(model, one, todo):
            found[j] = answered
            unread += answered["choice"] is None
            progress.set_postfix(unparseable=unread, refresh=False)
            progress.update()
            part = range(j // batch_size * batch_size, min((j // batch_size + 1) * batch_size, len(rows)))
            if all(k in found for k in part):
                made = schemas.from_rows([found.pop(k) for k in part], schemas.ANSWER, title)
                schemas.write(made, files[j // batch_size], schemas.ANSWER)
    return pa.concat_tables(schemas.read(file, schemas.ANSWER) for file in files)


def _as_completed(model: TextOnlyModel, answer_one, indices: Sequence[int]) -> Iterator[tuple[int, dict]]:
    """(question, answer) as replies come in, `concurrency` under way; the first error is raised after those are in."""
    left, failed = iter(indices), None
    with ThreadPoolExecutor(model.concurrency) as pool:
        running: dict[Future, int] = {pool.submit(answer_one, j): j for j in islice(left, model.concurrency)}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    j = running.pop(future)
                    if future.exception() is not None:
                        failed = failed or future.exception()
                        _stop(model)
                        continue
                    yield j, future.result()
                    if failed is None and (following := next(left, None)) is not None:
                        running[pool.submit(answer_one, following)] = following
        finally:
            if running:  # an interrupt, or an error in what our caller does with the answers
                _stop(model)
    if failed is not None:
        raise failed


def _stop(model: TextOnlyModel) -> None:
    stop = getattr(model, "stop", None)
    if stop:
        stop()


def load_clip_inputs(store: Store, shard: int, row: int, condition: str) -> EncodedClipInputs:
    """What a talker of this condition perceives of a stored clip."""
    return EncodedClipInputs(
        audio=None if condition == "silent_video" else store.audio(shard, row),
        jpegs=None if condition == "audio" else tuple(store.jpegs(shard, row)),
    )


def to_answer_row(question: dict, reply: Reply, respondent: str, condition: str, answer_mode: str) -> dict:
    """The ANSWER row of a reply; the choice is None where it names no letter, and then counted as wrong."""
    if answer_mode == "letter_logits" and reply.letter_logprobs is not None:
        choice = int(np.argmax(reply.letter_logprobs))
    else:
        choice = parse_letter(reply.text, question["options"])
    return {
        "question_id": question["question_id"],
        "respondent": respondent,
        "condition": condition,
        "choice": choice,
        "letter_logits": None if reply.letter_logprobs is None else list(reply.letter_logprobs),
        "text": reply.text,
        "seconds": None,
    }
