"""Draws the options of every question (paper section 3.1).

Every clip gets one question, the same for every model and every human. A question depends on nothing but the seed, the
clip's id, and the label frequencies: neither a lost clip, nor the order of the table, nor the number of processes
changes another question.

Drawing by frequency without replacement uses exponential races (Efraimidis & Spirakis 2006): label l gets the key
-log(u) / frequency(l), with u hashed from (seed, clip id, label), and the nine smallest keys win. This equals nine
successive draws with probabilities proportional to the frequencies of the labels not drawn yet, but it needs no state,
so all questions are drawn as one matrix. The order of the nine is hashed independently of the keys. So one more clip of
a label in the list changes one option in about nine questions of the whole study.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from synesthesia import schemas

LabelFrequencies = Mapping[str, Mapping[str, int]]

_CLIPS_PER_BLOCK = 1024  # 1024 x 286 keys of 8 bytes stay within reach of the CPU's cache
_POSITION_SALT, _LABEL_SALT, _ORDER_SALT = (
    np.uint64(n) for n in (0x5851F42D4C957F2D, 0x14057B7EF767814F, 0xD6E8FEB86659FD93)
)


class QuestionError(ValueError):
    """Questions cannot be drawn from these clips; the message says what is missing."""


def count_label_frequencies(clips: pa.Table) -> dict[str, dict[str, int]]:
    """Count how often each label occurs, VGGSound's test split excluded.

    The pipeline reads `out/curate/labels.json` instead, which counts the cleaned lists *before* rejected and absent
    files drop out, so that losing a file changes no other clip's question.

    Args:
        clips: Clips (schemas.CLIP).

    Returns:
        `{dataset: {label: number of clips}}`, labels in alphabetical order.
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
    """Draw one question per clip.

    The true option of a clip with several labels is drawn uniformly from them, none of them is a distractor, and its
    position is uniform over the letters.

    Args:
        clips: Clips (schemas.CLIP).
        seed: Seed of all draws.
        n_options: Options per question, 2 to 10.
        distractors: `frequency` (in proportion to how often labels occur in the clip's dataset, without replacement)
            or `uniform`.
        frequencies: Label frequencies per dataset; those of `clips` by default.

    Returns:
        Questions (schemas.QUESTION), in the order of `clips`.

    Raises:
        QuestionError: There are no clips, fewer labels than options, or a label has no frequency.
    """
    if not clips.num_rows:
        raise QuestionError("there are no clips to ask about: look into out/curate/rejected.parquet, then `dvc repro`")
    if distractors not in ("frequency", "uniform"):
        raise QuestionError(f"make_questions.distractors: {distractors!r} is not one of frequency, uniform")
    if frequencies is None:
        frequencies = count_label_frequencies(clips)
    clip_ids, datasets = clips["clip_id"].to_pylist(), np.array(clips["dataset"].to_pylist(), dtype=object)
    clip_labels = clips["labels"].to_pylist()
    options = np.empty((clips.num_rows, n_options), np.int32)
    targets = np.empty(clips.num_rows, np.int8)
    vocabulary: list[str] = []
    for dataset in sorted(set(datasets)):
        weights = dict(sorted(frequencies.get(dataset, {}).items()))
        if len(weights) < n_options:
            raise QuestionError(
                f"make_questions.num_options: {n_options}, but only {len(weights)} labels in {dataset} "
                f"({_preview(weights)}): lower make_questions.num_options or add clips of more labels"
            )
        dataset_rows = np.flatnonzero(datasets == dataset)
        for start in range(0, len(dataset_rows), _CLIPS_PER_BLOCK):
            rows = dataset_rows[start : start + _CLIPS_PER_BLOCK]
            label_indices, positions = _draw_options(
                [clip_ids[r] for r in rows], [clip_labels[r] for r in rows], weights, seed, n_options, distractors
            )
            options[rows], targets[rows] = label_indices + len(vocabulary), positions
        vocabulary += weights
    flat_options = pa.array(vocabulary, pa.string()).take(pa.array(options.ravel()))
    offsets = pa.array(np.arange(clips.num_rows + 1, dtype=np.int32) * n_options)
    questions = pa.table(
        {
            "question_id": [f"{clip_id}-q" for clip_id in clip_ids],
            "clip_id": clip_ids,
            "split": clips["split"],
            "options": pa.ListArray.from_arrays(offsets, flat_options),
            "target": targets,
        }
    )
    return schemas.check(questions, schemas.QUESTION, "questions")


def _draw_options(
    clip_ids: Sequence[str],
    clip_labels: Sequence[Sequence[str]],
    weights: Mapping[str, int],
    seed: int,
    n_options: int,
    distractors: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the options of some clips of one dataset.

    Returns:
        Options int64 (clips, n_options) as indices into `weights`, and positions of the true ones int64 (clips,).
    """
    names = list(weights)
    column = {name: index for index, name in enumerate(names)}
    clip_hash = np.array([_hash(f"{seed}\0{clip_id}") for clip_id in clip_ids], np.uint64)
    label_hash = np.array([_hash(name) for name in names], np.uint64)
    mixed = _splitmix64(clip_hash[:, None] ^ label_hash[None, :])
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    key = -np.log(uniform)
    if distractors == "frequency":
        key /= np.array(list(weights.values()), np.float64)
    true_label = np.empty(len(clip_ids), np.int64)
    for row, labels in enumerate(clip_labels):
        columns = [column[label] for label in labels if label in column]
        if len(columns) < len(labels):
            unknown = next(label for label in labels if label not in column)
            raise QuestionError(
                f"clip {clip_ids[row]}: label {unknown!r} is not in the table of label frequencies: "
                "run `dvc repro curate`"
            )
        if len(names) - len(columns) < n_options - 1:
            raise QuestionError(
                f"make_questions.num_options: {n_options}, but only {len(names)} labels, of which clip {clip_ids[row]} "
                f"has {len(columns)} itself: lower make_questions.num_options"
            )
        key[row, columns] = np.inf
        true_label[row] = (
            columns[int(np.argmin(_splitmix64(mixed[row, columns] ^ _LABEL_SALT)))] if len(columns) > 1 else columns[0]
        )
    drawn = np.argpartition(key, n_options - 2, axis=1)[:, : n_options - 1]
    order = np.argsort(_splitmix64(np.take_along_axis(mixed, drawn, 1) ^ _ORDER_SALT), axis=1)
    drawn = np.take_along_axis(drawn, order, 1)
    position = (_splitmix64(clip_hash ^ _POSITION_SALT) % np.uint64(n_options)).astype(np.int64)
    options = np.empty((len(clip_ids), n_options), np.int64)
    is_distractor = np.arange(n_options)[None, :] != position[:, None]
    options[is_distractor] = drawn.ravel()
    options[~is_distractor] = true_label
    return options, position


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Mix 64 bits with SplitMix64's finalizer (Steele, Lea & Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _preview(names: Mapping[str, int]) -> str:
    first = sorted(names)[:10]
    return ", ".join(first) + (", …" if len(names) > len(first) else "") if first else "none"
