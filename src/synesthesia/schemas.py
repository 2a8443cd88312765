"""Schemas of the tables that stages exchange: clips, questions, answers, responses, label gap and routes.

A table is a `pyarrow.Table` with one of the schemas below, stored as Parquet. Reading and writing check the schema and
the rules that a schema cannot express, so that an invalid table fails in the stage that creates it. Files contain no
timestamp, absolute path or run id: equal rows give equal bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synesthesia.utils import io

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
        pa.field("shard", pa.int32(), nullable=False),  # position in the clip store
        pa.field("row", pa.int32(), nullable=False),
    ]
)
REJECTED = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),  # relative to the data folder
        pa.field("clip_id", pa.string()),
        pa.field("label", pa.string()),
        pa.field("reason", pa.string(), nullable=False),  # category: "truncated", "no audio stream", "absent", ...
        pa.field("detail", pa.string(), nullable=False),  # message of the decoder
        pa.field("bytes", pa.int64()),
    ]
)
QUESTION = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string()), nullable=False),  # in the order of LETTERS
        pa.field("target", pa.int8(), nullable=False),  # index of the correct option
    ]
)
ANSWER = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("respondent", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("choice", pa.int8()),  # index of the option; null: unparseable, counts as wrong
        pa.field("letter_logits", pa.list_(pa.float32())),  # one per option, where available
        pa.field("text", pa.string()),  # generated or entered text, where available
        pa.field("seconds", pa.float32()),  # response time of humans
        pa.field("token_ids", pa.list_(pa.int32())),  # the vocabulary's most likely tokens, where kept
        pa.field("token_logits", pa.list_(pa.float32())),  # their logits (evaluate.top_k_logits)
    ]
)
RESPONSE = pa.schema(  # from files, before aggregation to one ANSWER per question; see evaluation/csv_import.py
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("participant", pa.string(), nullable=False),  # random id; empty if the file has a single respondent
        pa.field("condition", pa.string(), nullable=False),
        pa.field("choice", pa.int8()),  # index of the option; null: no option chosen or named
        pa.field("letter_logits", pa.list_(pa.float32())),
        pa.field("text", pa.string()),
        pa.field("seconds", pa.float32()),  # response time
        pa.field("replays", pa.int32()),
        pa.field("focus_lost", pa.int32()),
        pa.field("load_failures", pa.int32()),
        pa.field("order", pa.int32()),  # position in the participant's session
        pa.field("inattentive", pa.bool_(), nullable=False),  # per participant, by human_study.inattention
    ]
)
GAP = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("n_clips", pa.int32(), nullable=False),
        pa.field("audio_accuracy", pa.float64(), nullable=False),
        pa.field("visual_accuracy", pa.float64(), nullable=False),
        pa.field("visual_better", pa.bool_(), nullable=False),
    ]
)
ROUTE = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("visual_better_probability", pa.float32()),  # prediction of the switch; null: no prediction
        pa.field("visual_teaches", pa.bool_(), nullable=False),  # the switch is closed for visual -> audio
        pa.field("audio_teaches", pa.bool_(), nullable=False),  # the switch is closed for audio -> visual
    ]
)


class SchemaError(ValueError):
    """Raised if a table violates its schema; the message names the table and the first offending row."""


def check(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """Check a table against its schema and the rules of that schema.

    Args:
        table: The table; columns may be in any order.
        schema: One of the schemas of this module.
        name: Name of the table for error messages.

    Returns:
        The table with its columns in schema order, cast to the schema.

    Raises:
        SchemaError: A column is missing, unknown, has another type, or violates a rule.
    """
    missing = [f.name for f in schema if f.name not in table.column_names]
    unknown = [c for c in table.column_names if c not in schema.names]
    if missing or unknown:
        _fail(name, f"columns missing: {missing or 'none'}, unknown: {unknown or 'none'}")
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
        _check_labels(table, name)
    elif schema is QUESTION:
        _check_unique(table, ["question_id"], name)
        _check_in(table, "split", SPLITS, name)
        _check_options(table, name)
    elif schema is ANSWER:
        _check_unique(table, ["question_id", "respondent", "condition"], name)
        _check_in(table, "condition", CONDITIONS, name)
    elif schema is RESPONSE:
        _check_unique(table, ["question_id", "participant", "condition"], name)
        _check_in(table, "condition", CONDITIONS, name)
    return table


def from_rows(rows: list[dict], schema: pa.Schema, name: str) -> pa.Table:
    """Build a table from rows and check it.

    Args:
        rows: One dict per row; missing keys become null.
        schema: One of the schemas of this module.
        name: Name of the table for error messages.

    Returns:
        The checked table.

    Raises:
        SchemaError: See `check`.
    """
    columns = {f.name: pa.array([r.get(f.name) for r in rows], type=f.type) for f in schema}
    return check(pa.table(columns), schema, name)


def read(path: str | os.PathLike, schema: pa.Schema) -> pa.Table:
    """Read a Parquet table and check it.

    Args:
        path: A file that `write` created. Nullable columns that it lacks are filled with null.
        schema: One of the schemas of this module.

    Returns:
        The checked table.

    Raises:
        SchemaError: The file is missing, is not a Parquet table, or violates the schema.
    """
    path = Path(path)
    if not path.exists():
        raise SchemaError(f"{path} is missing: run `dvc repro` (or the stage that writes it) first")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SchemaError(f"{path} is not a table of this project: {error}") from None
    for field in schema:  # files of earlier versions lack columns that were added later
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return check(table, schema, str(path))


def write(table: pa.Table, path: str | os.PathLike, schema: pa.Schema) -> None:
    """Check a table and write it as Parquet, atomically.

    Args:
        table: The table.
        path: Destination. Its folder is created if necessary.
        schema: One of the schemas of this module.

    Raises:
        SchemaError: See `check`.
    """
    path = Path(path)
    table = check(table, schema, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with io.atomic_path(path) as tmp_path:
        pq.write_table(table.replace_schema_metadata(None), tmp_path, compression="zstd")


def select_split(questions: pa.Table, split: str) -> pa.Table:
    """Select the rows of one split.

    Args:
        questions: A table with the column `split`.
        split: One of SPLITS.

    Returns:
        These rows, in order.
    """
    mask = pc.equal(questions["split"], split)  # pyright: ignore[reportAttributeAccessIssue] pyarrow generates it at import
    return questions.filter(mask)


def _fail(name: str, problem: str) -> NoReturn:
    raise SchemaError(f"{name}: {problem}")


def _check_labels(table: pa.Table, name: str) -> None:
    """Check that each clip has at least one label and no duplicate."""
    lengths, n_distinct = _list_lengths(table["labels"])
    is_invalid = (lengths < 1) | (n_distinct != lengths)
    if is_invalid.any():
        row = _get_first_row(table, is_invalid)
        _fail(name, f"clip {row['clip_id']} has no label, or a duplicate: {row['labels']}")


def _check_options(table: pa.Table, name: str) -> None:
    """Check that each question has 2 to 10 different options and that its target is one of them."""
    lengths, n_distinct = _list_lengths(table["options"])
    is_invalid = (lengths < 2) | (lengths > len(LETTERS)) | (n_distinct != lengths)
    if is_invalid.any():
        row = _get_first_row(table, is_invalid)
        _fail(
            name,
            f"question {row['question_id']} needs 2 to {len(LETTERS)} different options, has {row['options']}",
        )
    targets = table["target"].to_numpy()
    is_invalid = (targets < 0) | (targets >= lengths)
    if is_invalid.any():
        row = _get_first_row(table, is_invalid)
        _fail(
            name,
            f"question {row['question_id']}: target {row['target']} is not among its {len(row['options'])} options",
        )


def _check_unique(table: pa.Table, keys: list[str], name: str) -> None:
    counts = table.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows < table.num_rows:
        row = _get_first_row(counts, counts["count_all"].to_numpy() > 1)
        _fail(name, f"{row['count_all']} rows with {', '.join(str(row[k]) for k in keys)}")


def _check_in(table: pa.Table, column: str, allowed: tuple[str, ...], name: str) -> None:
    for value in table[column].unique().to_pylist():
        if value not in allowed:
            _fail(name, f"{column} {value!r} is not one of {', '.join(allowed)}")


def _get_first_row(table: pa.Table, mask: np.ndarray) -> dict:
    return table.slice(int(np.argmax(mask)), 1).to_pylist()[0]


def _list_lengths(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Count values and distinct values per row of a list column: int64 (rows,) each."""
    lengths = pc.list_value_length(column).to_numpy()  # pyright: ignore[reportAttributeAccessIssue] pyarrow generates it at import
    flat = pc.list_flatten(column)  # pyright: ignore[reportAttributeAccessIssue] pyarrow generates it at import
    codes = flat.combine_chunks().dictionary_encode()
    values = codes.indices.fill_null(len(codes.dictionary)).to_numpy()
    pairs = np.repeat(np.arange(len(lengths)), lengths) * (len(codes.dictionary) + 1) + values
    pairs.sort()  # equal values of a row become neighbors; np.unique takes three times as long
    first = pairs[np.diff(pairs, prepend=-1) != 0]
    return lengths, np.bincount(first // (len(codes.dictionary) + 1), minlength=len(lengths))
