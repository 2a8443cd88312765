"""The tables that every stage speaks: clips, questions, answers, judgements, and the two that the study derives.

A table is a `pyarrow.Table` with one of the schemas below, kept as Parquet. Reading and writing check the schema
and the rules that a schema cannot say, so that a wrong table stops where it is made and not three stages later.
Files hold no time, no path of the machine and no run id: same rows, same bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CONDITIONS = ("audio", "silent_video", "sounded_video")
SPLITS = ("finetune", "analysis", "test", "unseen")
LETTERS = "ABCDEFGHIJ"

CLIP = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),  # <video id>_<start, 6 digits>
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),  # vggsound or audioset
        pa.field("labels", pa.list_(pa.string()), nullable=False),  # display names; one for VGGSound
        pa.field("split", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),  # where the store finds it
        pa.field("row", pa.int32(), nullable=False),
    ]
)
REJECTED = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # relative to the data folder
        pa.field("clip_id", pa.string()),
        pa.field("label", pa.string()),
        pa.field("reason", pa.string(), nullable=False),  # a short class: "truncated", "no audio", "absent", ...
        pa.field("detail", pa.string(), nullable=False),  # what the decoder said
        pa.field("bytes", pa.int64()),
    ]
)
QUESTION = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string()), nullable=False),  # in the order of the letters
        pa.field("answer", pa.int8(), nullable=False),  # index of the true option
    ]
)
ANSWER = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("respondent", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("choice", pa.int8()),  # index of the option; null: could not be read as a letter, counted as wrong
        pa.field("letter_logits", pa.list_(pa.float32())),  # one an option, where there are any
        pa.field("text", pa.string()),  # what the respondent said when free to say anything
        pa.field("seconds", pa.float32()),  # response time, for humans
        pa.field("token_ids", pa.list_(pa.int32())),  # the vocabulary's likeliest tokens, where kept
        pa.field("token_logits", pa.list_(pa.float32())),  # and their logits (answer.likeliest_tokens)
    ]
)
RESPONSE = pa.schema(  # what somebody answered elsewhere, before there is one ANSWER a question; see judgements.py
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("participant", pa.string(), nullable=False),  # a random id; empty where the file is one respondent's
        pa.field("condition", pa.string(), nullable=False),
        pa.field("choice", pa.int8()),  # index of the option; null: none was chosen, or the text names none
        pa.field("letter_logits", pa.list_(pa.float32())),
        pa.field("text", pa.string()),
        pa.field("seconds", pa.float32()),  # response time
        pa.field("replays", pa.int32()),
        pa.field("focus_lost", pa.int32()),
        pa.field("load_failures", pa.int32()),
        pa.field("order", pa.int32()),  # place in the participant's session
        pa.field("careless", pa.bool_(), nullable=False),  # by the browser study's stated rules, whole participants
    ]
)
GAP = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("clips", pa.int32(), nullable=False),
        pa.field("audio_accuracy", pa.float64(), nullable=False),
        pa.field("visual_accuracy", pa.float64(), nullable=False),
        pa.field("visual_better", pa.bool_(), nullable=False),
    ]
)
ROUTE = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("visual_better_probability", pa.float32()),  # the switch's own word; null where it was not asked
        pa.field("visual_teaches", pa.bool_(), nullable=False),  # closed for visual -> audio
        pa.field("audio_teaches", pa.bool_(), nullable=False),  # closed for audio -> visual
    ]
)


class SchemaError(ValueError):
    """A table that breaks its own rules; the message names the table and the first offending row."""


def _fail(name: str, problem: str) -> None:
    raise SchemaError(f"{name}: {problem}")


def check(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """Return `table` cast to `schema`; raise TableError where a column lacks, has another type or breaks a rule."""
    missing = [f.name for f in schema if f.name not in table.column_names]
    extra = [c for c in table.column_names if c not in schema.names]
    if missing or extra:
        _fail(name, f"columns missing: {missing or 'none'}, not known: {extra or 'none'}")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise SchemaError(f"{name}: {error}") from None
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            _fail(name, f"column {field.name} has empty cells")
    if schema is CLIP:
        _check_unique(table, ["clip_id"], name)
        _check_in(table, "split", SPLITS, name)
        sizes, different = _list_lengths(table["labels"])
        wrong = (sizes < 1) | (different != sizes)
        if wrong.any():
            row = _get_first_row(table, wrong)
            _fail(name, f"clip {row['clip_id']} has no label, or one twice: {row['labels']}")
    elif schema is QUESTION:
        _check_unique(table, ["question_id"], name)
        _check_in(table, "split", SPLITS, name)
        sizes, different = _list_lengths(table["options"])
        wrong = (sizes < 2) | (sizes > len(LETTERS)) | (different != sizes)
        if wrong.any():
            row = _get_first_row(table, wrong)
            what = f"needs 2 to {len(LETTERS)} different options, has {row['options']}"
            _fail(name, f"question {row['question_id']} {what}")
        answers = table["answer"].to_numpy()
        wrong = (answers < 0) | (answers >= sizes)
        if wrong.any():
            row = _get_first_row(table, wrong)
            what = f"answer {row['answer']} is not among its {len(row['options'])} options"
            _fail(name, f"question {row['question_id']}: {what}")
    elif schema is ANSWER:
        _check_unique(table, ["question_id", "respondent", "condition"], name)
        _check_in(table, "condition", CONDITIONS, name)
    elif schema is RESPONSE:
        _check_unique(table, ["question_id", "participant", "condition"], name)
        _check_in(table, "condition", CONDITIONS, name)
    return table


def _check_unique(table: pa.Table, keys: list[str], name: str) -> None:
    counts = table.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows < table.num_rows:
        row = _get_first_row(counts, counts["count_all"].to_numpy() > 1)
        _fail(name, f"{row['count_all']} rows with {', '.join(str(row[k]) for k in keys)}")


def _get_first_row(table: pa.Table, mask: np.ndarray) -> dict:
    return table.slice(int(np.argmax(mask)), 1).to_pylist()[0]


def _list_lengths(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """How many values each row of a column of lists has, and how many of them are different: int64 (rows,) each."""
    sizes = pc.list_value_length(column).to_numpy()
    codes = pc.list_flatten(column).combine_chunks().dictionary_encode()
    values = codes.indices.fill_null(len(codes.dictionary)).to_numpy()
    pairs = np.repeat(np.arange(len(sizes)), sizes) * (len(codes.dictionary) + 1) + values
    pairs.sort()  # a row's values side by side; np.unique takes three times as long
    first = pairs[np.diff(pairs, prepend=-1) != 0]
    return sizes, np.bincount(first // (len(codes.dictionary) + 1), minlength=len(sizes))


def _check_in(table: pa.Table, column: str, allowed: tuple[str, ...], name: str) -> None:
    for value in table[column].unique().to_pylist():
        if value not in allowed:
            _fail(name, f"{column} {value!r} is not one of {', '.join(allowed)}")


def from_rows(rows: list[dict], schema: pa.Schema, name: str) -> pa.Table:
    """Build and check a table from a list of dicts; absent optional keys become null."""
    columns = {f.name: pa.array([r.get(f.name) for r in rows], type=f.type) for f in schema}
    return check(pa.table(columns), schema, name)


def read(path: str | os.PathLike, schema: pa.Schema) -> pa.Table:
    """Read a Parquet table and check it; a missing or foreign file is a TableError that says which stage to run."""
    path = Path(path)
    if not path.exists():
        raise SchemaError(f"{path} is missing: run `dvc repro` (or the stage that writes it) first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(f"{path} is not a table of this project: {error}") from None
    for field in schema:  # of a version of this project that did not have the column yet
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return check(table, schema, str(path))


def write(table: pa.Table, path: str | os.PathLike, schema: pa.Schema) -> None:
    """Check and write a table as Parquet, whole or not at all (written beside, then renamed)."""
    path = Path(path)
    table = check(table, schema, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        pq.write_table(table.replace_schema_metadata(None), beside, compression="zstd")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
