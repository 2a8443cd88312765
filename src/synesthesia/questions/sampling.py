"""The ten-option question: its wording, the drawing of its options, and the reading of a letter (paper section 3.1).

Every clip gets one question, and every model and every human gets the same one. A question follows from the seed, the
clip's id and the table of label frequencies alone: a lost clip changes no other question, and neither does the order
of the table or the number of processes.

Drawing by frequency without replacement is done with exponential races (Efraimidis & Spirakis 2006): label l gets the
key -log(u) / frequency(l), with u hashed from (seed, clip id, label), and the nine smallest keys win. That is the same
as drawing nine times with probabilities in proportion to the frequencies of the labels not drawn yet, but it needs no
state, so all questions are drawn as one matrix. Where the nine then stand is hashed apart from the keys, hence a
frequency that moves by one (a clip more in the list) swaps one option in about nine questions of the whole study.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from synesthesia import schemas
from synesthesia.schemas import LETTERS

LabelFrequencies = Mapping[str, Mapping[str, int]]

_CHUNK_SIZE = 1024  # clips drawn at once: 1024 x 286 keys of 8 bytes stay within the processor's cache's reach
_POSITION_SALT, _LABEL_SALT, _ORDER_SALT = (
    np.uint64(n) for n in (0x5851F42D4C957F2D, 0x14057B7EF767814F, 0xD6E8FEB86659FD93)
)


class QuestionError(ValueError):
    """Questions cannot be drawn from these clips; the message says what lacks."""


def format_prompt(options: Sequence[str]) -> str:
    """The text that follows the media, word for word as in the paper; `options` are 2 to 10 display names."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return (
        "Classify the sounding object into one of the categories below:\n"
        + "\n".join(lines)
        + f"\nRespond only with a single letter from A to {LETTERS[len(options) - 1]}."
    )


def parse_letter(text: str | None, options: Sequence[str]) -> int | None:
    """Index of the option that `text` names, or None where it names none or more than one; never a guess.

    Read are a lone letter in either case ("B", "b.", "(B)", "B:"), a letter with its own option's text ("B. dog"), an
    option's text alone, and each of these after "Answer:". A letter with another option's text is None: the answer
    contradicts itself, and it is counted as wrong and unparseable.
    """
    if text is None:
        return None
    said = re.sub(r"^answer\s*:\s*", "", text.strip(), flags=re.IGNORECASE)
    names = [_normalize_text(option) for option in options]
    found = {index for index, name in enumerate(names) if _normalize_text(said) == name}
    lone = re.fullmatch(r"\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\s*[.):]?", said)
    with_text = re.fullmatch(r"(?:\(([A-Za-z])\)|([A-Za-z])\s*[.):])\s*(.+)", said, flags=re.DOTALL)
    if lone:
        index = LETTERS.find(next(filter(None, lone.groups())).upper())
        if 0 <= index < len(options):
            found.add(index)
    elif with_text:
        index = LETTERS.find((with_text[1] or with_text[2]).upper())
        if 0 <= index < len(options) and _normalize_text(with_text[3]) == names[index]:
            found.add(index)
    return found.pop() if len(found) == 1 else None


def _normalize_text(text: str) -> str:
    text = text.strip().casefold()
    return text[:-1].rstrip() if text.endswith(".") else text


def count_label_frequencies(clips: pa.Table) -> dict[str, dict[str, int]]:
    """Label frequencies of a CLIP table: `{dataset: {label: clips}}`, VGGSound's counted outside its test split.

    The study itself does not use this but `out/curate/labels.json`, counted over the cleaned lists *before* damaged
    and absent files drop out, so that losing a file changes no other clip's question.
    """
    counts: dict[str, Counter] = {}
    columns = (clips[c].to_pylist() for c in ("dataset", "labels", "split"))
    for dataset, labels, split in zip(*columns, strict=True):
        if split != "test":
            counts.setdefault(dataset, Counter()).update(labels)
    return {dataset: dict(sorted(counter.items())) for dataset, counter in counts.items()}


def draw_questions(
    clips: pa.Table, seed: int, n_options: int, distractors: str, frequencies: LabelFrequencies | None = None
) -> pa.Table:
    """One question a clip: CLIP table in, QUESTION table out, in the clips' order.

    `distractors` is "frequency" (in proportion to how often labels occur in the clip's data set, without replacement)
    or "uniform"; `table` gives the frequencies by data set, by default those of `clips`. The true option of a clip of
    several labels is drawn from them evenly, none of them is a distractor, and its position is even over the letters.
    Raises QuestionError for no clips, and for fewer labels than options.
    """
    if not clips.num_rows:
        raise QuestionError("there are no clips to ask about: look into out/curate/damaged.parquet, then `dvc repro`")
    if distractors not in ("frequency", "uniform"):
        raise QuestionError(f"ask.distractors: {distractors!r} is not one of frequency, uniform")
    if frequencies is None:
        frequencies = frequencies(clips)
    clip_ids, datasets = clips["clip_id"].to_pylist(), np.array(clips["dataset"].to_pylist(), dtype=object)
    own_labels = clips["labels"].to_pylist()
    options = np.empty((clips.num_rows, n_options), np.int32)
    answers = np.empty(clips.num_rows, np.int8)
    vocabulary: list[str] = []
    for dataset in sorted(set(datasets)):
        weights = dict(sorted(frequencies.get(dataset, {}).items()))
        if len(weights) < n_options:
            raise QuestionError(
                f"ask.options: {n_options}, but only {len(weights)} labels in {dataset} ({_preview(weights)}): "
                f"lower ask.options or add clips of more labels"
            )
        which = np.flatnonzero(datasets == dataset)
        for start in range(0, len(which), _CHUNK_SIZE):
            rows = which[start : start + _CHUNK_SIZE]
            drawn = _draw_options(
                [clip_ids[r] for r in rows], [own_labels[r] for r in rows], weights, seed, n_options, distractors
            )
            options[rows], answers[rows] = drawn[0] + len(vocabulary), drawn[1]
        vocabulary += weights
    flat = pa.array(vocabulary, pa.string()).take(pa.array(options.ravel()))
    offsets = pa.array(np.arange(clips.num_rows + 1, dtype=np.int32) * n_options)
    made = pa.table(
        {
            "question_id": [f"{clip_id}-q" for clip_id in clip_ids],
            "clip_id": clip_ids,
            "split": clips["split"],
            "options": pa.ListArray.from_arrays(offsets, flat),
            "answer": answers,
        }
    )
    return schemas.check(made, schemas.QUESTION, "questions")


def _draw_options(clip_ids, clip_labels, weights, seed, n_options, distractors) -> tuple[np.ndarray, np.ndarray]:
    """Options (clips, n_options) as indices into `weights`, and the true option's position (clips,)."""
    names = list(weights)
    column = {name: index for index, name in enumerate(names)}
    clip_hash = np.array([_hash(f"{seed}\0{clip_id}") for clip_id in clip_ids], np.uint64)
    label_hash = np.array([_hash(name) for name in names], np.uint64)
    mixed = _splitmix64(clip_hash[:, None] ^ label_hash[None, :])
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    key = -np.log(uniform)
    if distractors == "frequency":
        key /= np.array(list(weights.values()), np.float64)
    truth = np.empty(len(clip_ids), np.int64)
    for row, labels in enumerate(clip_labels):
        own = [column[label] for label in labels if label in column]
        if len(own) < len(labels):
            raise QuestionError(f"clip {clip_ids[row]}: label {next(x for x in labels if x not in column)!r} is not "
                                "in the table of label frequencies: run `dvc repro curate`")  # fmt: skip
        if len(names) - len(own) < n_options - 1:
            raise QuestionError(
                f"ask.options: {n_options}, but only {len(names)} labels, of which clip {clip_ids[row]} has {len(own)} "
                "itself: lower ask.options"
            )
        key[row, own] = np.inf
        truth[row] = own[int(np.argmin(_splitmix64(mixed[row, own] ^ _LABEL_SALT)))] if len(own) > 1 else own[0]
    drawn = np.argpartition(key, n_options - 2, axis=1)[:, : n_options - 1]
    order = np.argsort(_splitmix64(np.take_along_axis(mixed, drawn, 1) ^ _ORDER_SALT), axis=1)
    drawn = np.take_along_axis(drawn, order, 1)
    position = (_splitmix64(clip_hash ^ _POSITION_SALT) % np.uint64(n_options)).astype(np.int64)
    options = np.empty((len(clip_ids), n_options), np.int64)
    place = np.arange(n_options)[None, :] != position[:, None]
    options[place] = drawn.ravel()
    options[~place] = truth
    return options, position


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: 64 bits in, 64 well-mixed bits out (Steele, Lea & Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _preview(names: Mapping[str, int]) -> str:
    shown = sorted(names)[:10]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "") if shown else "none"
