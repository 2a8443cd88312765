"""What a shard is, and how one is written: whole or not at all.

A shard is an Arrow IPC file (Feather version 2, not compressed: JPEGs are already) with the columns of `SCHEMA`. Arrow,
since it is memory-mapped: reading a clip touches that clip's pages and nothing else, at any size of the store, from any
number of processes that share the pages; and it is the format that the project's tables have already. A shard consists
of record batches of `BATCH` clips, so that writing one takes the memory of a batch. Sound and frames of each clip have
a CRC-32, which is checked whenever they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

CLIPS_PER_BATCH = 16  # clips a record batch: 11 MB at the paper's size
SHARD_INDEX_FILE = "shards.json"
SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("audio", pa.binary(), nullable=False),  # int16, little endian, mono
        pa.field("audio_crc32", pa.uint32(), nullable=False),
        pa.field("frames", pa.list_(pa.binary()), nullable=False),  # JPEGs in order of time
        pa.field("frames_crc32", pa.uint32(), nullable=False),  # of all of them, one after the other
    ]
)


class StoreError(ValueError):
    """A store that is missing, half there, damaged or in other hands; the message names the shard and what to do."""


@dataclass(frozen=True)
class ShardInfo:
    """What `shards.json` keeps of a shard."""

    name: str
    clips: int
    bytes: int
    sha256: str


class ShardWriter:
    """Writes one shard, whole or not at all: what is written lies beside until `close` renames it."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.clips = 0
        self._tmp_path = make_tmp_path(self.path)
        self._rows: list[tuple] = []
        self._file = open(self._tmp_path, "wb")  # noqa: SIM115 - closed by close and abort
        self._writer = pa.ipc.new_file(self._file, SCHEMA)

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> int:
        """Append a clip, int16 (samples,) and its JPEGs; return its row."""
        if audio.dtype != np.int16 or audio.ndim != 1:
            raise StoreError(f"clip {clip_id}: audio must be int16 (samples,), is {audio.dtype} {audio.shape}")
        sound = audio.astype("<i2", copy=False).tobytes()
        self._rows.append((clip_id, sound, zlib.crc32(sound), list(jpegs), crc32(jpegs)))
        if len(self._rows) == CLIPS_PER_BATCH:
            self._flush()
        self.clips += 1
        return self.clips - 1

    def _flush(self) -> None:
        if self._rows:
            arrays = [pa.array(list(c), f.type) for c, f in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            self._rows = []

    def close(self) -> ShardInfo:
        """Finish the shard and give it its name; return its entry for the index."""
        self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        info = ShardInfo(self.path.name, self.clips, self._tmp_path.stat().st_size, checksum(self._tmp_path))
        os.replace(self._tmp_path, self.path)
        return info

    def abort(self) -> None:
        """Drop what was written."""
        with contextlib.suppress(OSError):  # a full disk, once more: what could not be written is dropped anyway
            self._file.close()
        self._tmp_path.unlink(missing_ok=True)


def make_tmp_path(path: Path) -> Path:
    """Where a file lies until it is whole; another process on this machine or another has another place."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.arrow"


def crc32(pieces: Sequence[bytes]) -> int:
    """CRC-32 of several pieces as if they were one."""
    value = 0
    for piece in pieces:
        value = zlib.crc32(piece, value)
    return value


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
