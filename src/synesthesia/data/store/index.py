"""Where each clip's sound and frames lie: `places.arrow`, one small file beside the shards.

Every shard knows this of its own clips, in the heads of its record batches. Asking there costs more than reading a
small clip, touches six places of the file before the clip's own, and has to be done again by every process for every
part of a store that it comes to. So it is asked once, when a store is published: 57 bytes a clip and 4 a frame, which
are read whole when a store is opened, and a clip then costs its own bytes alone, in a large store as in a small one.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synesthesia.data.store import shard
from synesthesia.data.store.shard import ShardInfo, StoreError

CLIP_INDEX_FILE = "places.arrow"
SCHEMA = pa.schema(  # a row a clip, in order of shards and of rows in them
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("audio", pa.int64(), nullable=False),  # where its bytes begin in the shard's file
        pa.field("audio_bytes", pa.int32(), nullable=False),
        pa.field("audio_crc32", pa.uint32(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),  # where the first frame begins; the others follow
        pa.field("frames_crc32", pa.uint32(), nullable=False),
        pa.field("frame_bytes", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
    ]
)
_ROW_DTYPE = np.dtype([("audio", "=i8"), ("audio_bytes", "=i4"), ("audio_crc32", "=u4"), ("frames", "=i8"),
                 ("frames_crc32", "=u4"), ("first", "=i4"), ("count", "=i4")])  # fmt: skip
_unpack_row = struct.Struct("=qiIqIii").unpack_from  # a `_ROW` as Python's own numbers


class ClipIndex:
    """What `places.arrow` says, by a clip's place among all of the store's; the bytes must be what `write` wrote."""

    def __init__(self, data: bytes):
        table = pa.ipc.open_file(data).read_all()
        lists = table["frame_bytes"].combine_chunks()
        rows = np.empty(len(table), _ROW_DTYPE)
        for name in ("audio", "audio_bytes", "audio_crc32", "frames", "frames_crc32"):
            rows[name] = _to_numpy(table[name])
        rows["first"] = _to_numpy(lists.offsets)[:-1]
        rows["count"] = _to_numpy(lists.value_lengths())
        self.clip_ids = table["clip_id"].combine_chunks()
        self._rows = rows.tobytes()  # one after the other: one look into memory a clip, and not one a column
        self._frame_bytes = memoryview(_to_numpy(lists.values))

    def locate_audio(self, index: int) -> tuple[int, int, int]:
        """Where a clip's sound begins and ends in its shard's file, and its CRC-32."""
        start, size, crc, _, _, _, _ = _unpack_row(self._rows, index * _ROW_DTYPE.itemsize)
        return start, start + size, crc

    def locate_frames(self, index: int) -> tuple[int, list[int], int]:
        """Where a clip's first frame begins in its shard's file, the bytes of each, and the CRC-32 of all together."""
        _, _, _, start, crc, first, count = _unpack_row(self._rows, index * _ROW_DTYPE.itemsize)
        return start, self._frame_bytes[first : first + count].tolist(), crc


def write_clip_index(folder: Path, infos: Iterable[ShardInfo]) -> ShardInfo:
    """Ask the shards of a folder, and write `places.arrow` beside them; return its entry for the index."""
    path, clips = folder / CLIP_INDEX_FILE, 0
    with open(path, "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for info in infos:
            table = _index_shard(folder / info.name)
            writer.write_table(table.combine_chunks())
            clips += len(table)
    return ShardInfo(CLIP_INDEX_FILE, clips, path.stat().st_size, shard.checksum(path))


def _index_shard(path: Path) -> pa.Table:
    with open(path, "rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole.madvise(mmap.MADV_RANDOM)  # or the disk would read on, through all of the sound and pictures
    buffer = pa.py_buffer(whole)
    try:
        table = pa.ipc.open_file(buffer).read_all()
        table.validate(full=True)
    except pa.ArrowException as error:
        raise StoreError(f"{path} was damaged after it was written ({error}): write it again") from None
    audio, audio_bytes = _value_spans(table["audio"], buffer)
    frames, frame_bytes = _value_spans(pc.list_flatten(table["frames"]), buffer)
    ends = np.concatenate([[0], np.cumsum(_to_numpy(pc.list_value_length(table["frames"])))])
    first = np.append(frames, 0)[ends[:-1]]  # a clip without frames may be the last
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), frame_bytes, SCHEMA.field("frame_bytes").type)
    columns = [table["clip_id"], audio, audio_bytes, table["audio_crc32"], first, table["frames_crc32"], lists]
    return pa.table(columns, schema=SCHEMA)


def _value_spans(column: pa.ChunkedArray, file: pa.Buffer) -> tuple[np.ndarray, np.ndarray]:
    """Where a column's binary values begin in the file, int64 (values,), and how long they are, int32 (values,)."""
    sizes = _to_numpy(pc.binary_length(column))
    ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])  # were all batches one piece
    counts = [len(chunk) for chunk in column.chunks]
    values = [chunk.buffers()[2] for chunk in column.chunks]
    pieces = np.array([piece.address - file.address if piece else 0 for piece in values], np.int64)
    return ends[:-1] + np.repeat(pieces - ends[np.cumsum([0, *counts])[:-1]], counts), sizes


def _to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).to_numpy()
