"""The shard format, and a writer whose file appears atomically.

A shard is an Arrow IPC file (Feather version 2, uncompressed: JPEGs are compressed already) with the columns of
`SCHEMA`. Arrow is memory-mapped: a read touches the pages of one clip and nothing else, at any size of the store, from
any number of processes that share the pages; and the project's tables use the same library. A shard consists of record
batches of `CLIPS_PER_BATCH` clips, so writing needs the memory of one batch. Audio and frames of each clip have a
CRC-32, which is checked on every read.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from synesthesia.utils.hashing import hash_file
from synesthesia.utils.io import atomic_path

CLIPS_PER_BATCH = 16  # 11 MB at the paper's size
SHARD_INDEX_FILE = "shards.json"
SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("audio", pa.binary(), nullable=False),  # int16, little endian, mono
        pa.field("audio_crc32", pa.uint32(), nullable=False),
        pa.field("frames", pa.list_(pa.binary()), nullable=False),  # JPEGs in order of time
        pa.field("frames_crc32", pa.uint32(), nullable=False),  # of all frames, concatenated
    ]
)


class StoreError(ValueError):
    """Raised when a store is missing, incomplete, damaged, or locked; the message names the file and the remedy."""


@dataclass(frozen=True)
class ShardInfo:
    """Entry of `shards.json`.

    Attributes:
        name: File name.
        clips: Number of clips.
        bytes: Size of the file.
        sha256: Checksum of the file, in hexadecimal.
    """

    name: str
    clips: int
    bytes: int
    sha256: str


class ShardWriter:
    """Writes one shard; the file appears under its name when `close` succeeds.

    Attributes:
        path: Path of the shard.
        clips: Number of clips so far.
    """

    def __init__(self, path: str | os.PathLike):
        """Open a temporary file next to `path`.

        Args:
            path: Path of the shard.
        """
        self.path = Path(path)
        self.clips = 0
        self._atomic_path = atomic_path(self.path)
        self._tmp_path = self._atomic_path.__enter__()
        self._rows: list[tuple] = []
        self._file = open(self._tmp_path, "wb")  # noqa: SIM115 - closed by close and abort
        self._writer = pa.ipc.new_file(self._file, SCHEMA)

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> int:
        """Append a clip.

        Args:
            clip_id: Id of the clip.
            audio: int16 (samples,).
            jpegs: Frames in order of time.

        Returns:
            The clip's row in the shard.

        Raises:
            StoreError: `audio` has another dtype or shape.
        """
        if audio.dtype != np.int16 or audio.ndim != 1:
            raise StoreError(f"clip {clip_id}: audio must be int16 (samples,), is {audio.dtype} {audio.shape}")
        audio_bytes = audio.astype("<i2", copy=False).tobytes()
        self._rows.append((clip_id, audio_bytes, zlib.crc32(audio_bytes), list(jpegs), crc32(jpegs)))
        if len(self._rows) == CLIPS_PER_BATCH:
            self._flush()
        self.clips += 1
        return self.clips - 1

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(list(c), f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            self._rows = []

    def close(self) -> ShardInfo:
        """Finish the shard and move it to its name.

        Returns:
            The shard's entry for `shards.json`.
        """
        self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        info = ShardInfo(self.path.name, self.clips, self._tmp_path.stat().st_size, hash_file(self._tmp_path))
        self._atomic_path.__exit__(None, None, None)
        return info

    def abort(self) -> None:
        """Delete the temporary file."""
        with contextlib.suppress(OSError):  # the disk may be full; unwritten data is dropped anyway
            self._file.close()
        self._atomic_path.__exit__(StoreError, StoreError("aborted"), None)


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.arrow"


def crc32(parts: Sequence[bytes]) -> int:
    """Compute the CRC-32 of concatenated parts."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value
