"""Byte offsets of every clip's audio and frames: `clip_index.arrow`, one small file next to the shards.

Each shard holds this information in the metadata of its record batches. Reading it from the shard costs more than a
small clip, touches six places of the file first, and repeats in every process for every part of a store. It is
therefore collected once, when a store is published: 57 bytes per clip and 4 per frame, read completely when a store is
opened. A clip then costs the read of its own bytes, in a large store as in a small one.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthesia.data.store.shard import ShardInfo, StoreError
from synesthesia.utils.hashing import hash_file

CLIP_INDEX_FILE = "clip_index.arrow"
SCHEMA = pa.schema(  # one row per clip, in order of shards and of rows in them
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("audio", pa.int64(), nullable=False),  # offset in the shard's file
        pa.field("audio_bytes", pa.int32(), nullable=False),
        pa.field("audio_crc32", pa.uint32(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),  # offset of the first frame; the others follow
        pa.field("frames_crc32", pa.uint32(), nullable=False),
        pa.field("frame_bytes", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
    ]
)
_ROW_DTYPE = np.dtype(
    [
        ("audio", "=i8"),
        ("audio_bytes", "=i4"),
        ("audio_crc32", "=u4"),
        ("frames", "=i8"),
        ("frames_crc32", "=u4"),
        ("first_frame", "=i4"),
        ("num_frames", "=i4"),
    ]
)
_unpack_row = struct.Struct("=qiIqIii").unpack_from  # a row of `_ROW_DTYPE` as Python integers


class ClipIndex:
    """Content of `clip_index.arrow`, by a clip's index among all clips of the store.

    Attributes:
        clip_ids: Ids of all clips, as an Arrow array.
    """

    def __init__(self, data: bytes):
        """Parse the index.

        Args:
            data: The file's bytes, as written by `write_clip_index`; the caller compares the checksum.
        """
        table = pa.ipc.open_file(data).read_all()
        lists = table["frame_bytes"].combine_chunks()
        rows = np.empty(len(table), _ROW_DTYPE)
        for name in ("audio", "audio_bytes", "audio_crc32", "frames", "frames_crc32"):
            rows[name] = _to_numpy(table[name])
        rows["first_frame"] = _to_numpy(lists.offsets)[:-1]
        rows["num_frames"] = _to_numpy(lists.value_lengths())
        self.clip_ids = table["clip_id"].combine_chunks()
        self._rows = rows.tobytes()  # row by row: one memory access per clip instead of one per column
        self._frame_bytes = memoryview(_to_numpy(lists.values))  # pyright: ignore[reportArgumentType]  # an ndarray

    def locate_audio(self, index: int) -> tuple[int, int, int]:
        """Return begin and end of a clip's audio in its shard's file, and the CRC-32."""
        start, size, crc, _, _, _, _ = _unpack_row(self._rows, index * _ROW_DTYPE.itemsize)
        return start, start + size, crc

    def locate_frames(self, index: int) -> tuple[int, list[int], int]:
        """Return the offset of a clip's first frame in its shard's file, the size of each frame, and their CRC-32."""
        _, _, _, start, crc, first_frame, num_frames = _unpack_row(self._rows, index * _ROW_DTYPE.itemsize)
        return start, self._frame_bytes[first_frame : first_frame + num_frames].tolist(), crc


def write_clip_index(folder: Path, infos: Iterable[ShardInfo]) -> ShardInfo:
    """Build `clip_index.arrow` from the shards of a folder.

    Args:
        folder: Folder of the shards; receives the index.
        infos: The shards, in order.

    Returns:
        The index file's entry for `shards.json`.

    Raises:
        StoreError: A shard is damaged.
    """
    path, num_clips = folder / CLIP_INDEX_FILE, 0
    with open(path, "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for info in infos:
            table = _index_shard(folder / info.name)
            writer.write_table(table.combine_chunks())
            num_clips += len(table)
    return ShardInfo(CLIP_INDEX_FILE, num_clips, path.stat().st_size, hash_file(path))


def _index_shard(path: Path) -> pa.Table:
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)  # prevents read-ahead of the whole file
    buffer = pa.py_buffer(mapped)
    try:
        table = pa.ipc.open_file(buffer).read_all()
        table.validate(full=True)
    except pa.ArrowException as error:
        raise StoreError(f"{path} was damaged after it was written ({error}): write it again") from None
    audio, audio_bytes = _value_spans(table["audio"], buffer)
    flat_frames = pc.list_flatten(table["frames"])  # pyright: ignore[reportAttributeAccessIssue]  # generated at import
    frames, frame_bytes = _value_spans(flat_frames, buffer)
    num_frames = pc.list_value_length(table["frames"])  # pyright: ignore[reportAttributeAccessIssue]  # likewise
    offsets = np.concatenate([[0], np.cumsum(_to_numpy(num_frames))])
    first_frame = np.append(frames, 0)[offsets[:-1]]  # the last clips may have no frames
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), frame_bytes, SCHEMA.field("frame_bytes").type)
    columns = [table["clip_id"], audio, audio_bytes, table["audio_crc32"], first_frame, table["frames_crc32"], lists]
    return pa.table(columns, schema=SCHEMA)


def _value_spans(column: pa.ChunkedArray, file: pa.Buffer) -> tuple[np.ndarray, np.ndarray]:
    """Return offset in the file, int64 (values,), and size, int32 (values,), of a column's binary values."""
    sizes = _to_numpy(pc.binary_length(column))  # pyright: ignore[reportAttributeAccessIssue]  # generated at import
    ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])  # as if all batches were contiguous
    counts = [len(chunk) for chunk in column.chunks]
    values = [chunk.buffers()[2] for chunk in column.chunks]
    chunk_offsets = np.array([buffer.address - file.address if buffer else 0 for buffer in values], np.int64)
    return ends[:-1] + np.repeat(chunk_offsets - ends[np.cumsum([0, *counts])[:-1]], counts), sizes


def _to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).to_numpy()
