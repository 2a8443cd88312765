"""Any clip of a store, memory-mapped, checked as it is read."""

from __future__ import annotations

import errno
import io
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from synesthesia.store.shards import BATCH, INDEX, ShardInfo, StoreError, checksum, crc32

_AGAIN = "remove the folder and run `dvc checkout`, or `dvc repro -f curate`"


class Store:
    """Reads a store. Cheap to open, safe to hand to other processes (each maps the shards for itself).

    `checked` compares what is read with its CRC-32, so that a damaged clip is an error and never an answer.
    """

    def __init__(self, folder: str | os.PathLike, checked: bool = True):
        self.folder, self.checked = Path(folder), checked
        try:
            entries = json.loads((self.folder / INDEX).read_text())["shards"]
            self.shards = [ShardInfo(**entry) for entry in entries]
        except FileNotFoundError:
            raise StoreError(f"{self.folder / INDEX} is missing: run `dvc repro curate` first") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder / INDEX} is not an index of a store ({error}): {_AGAIN}") from None
        self._readers: dict[int, pa.ipc.RecordBatchFileReader] = {}
        self._last: tuple[tuple[int, int] | None, pa.RecordBatch | None] = None, None
        self._places: dict[str, tuple[int, int]] | None = None

    def __len__(self) -> int:
        return sum(shard.clips for shard in self.shards)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_readers": {}, "_last": (None, None)}

    def place(self, clip_id: str) -> tuple[int, int]:
        """Shard and row of a clip; StoreError where the store does not have it.

        The first call reads all ids (half a second for 200,000); tables.CLIP tells the same without the store.
        """
        if self._places is None:
            self._places = {name: (shard, row) for shard, row, name in self._ids()}
        if clip_id not in self._places:
            raise StoreError(f"{self.folder}: no clip {clip_id!r} among its {len(self)}")
        return self._places[clip_id]

    def _ids(self) -> Iterator[tuple[int, int, str]]:
        for shard, info in enumerate(self.shards):
            for start in range(0, info.clips, BATCH):
                for row, name in enumerate(self._batch(shard, start)["clip_id"].to_pylist(), start):
                    yield shard, row, name

    def clip_id(self, shard: int, row: int) -> str:
        """The id of the clip that lies there."""
        return self._cells(shard, row, "clip_id")[0].as_py()

    def audio(self, shard: int, row: int) -> np.ndarray:
        """The clip's sound: float32 (samples,) in [-1, 1)."""
        cell, crc = self._cells(shard, row, "audio", "audio_crc32")
        sound = cell.as_buffer()
        if self.checked and zlib.crc32(sound) != crc.as_py():
            raise self._damaged(shard, f"row {row} has sound that is not what was written")
        return np.multiply(np.frombuffer(sound, "<i2"), np.float32(2**-15), dtype=np.float32)

    def jpegs(self, shard: int, row: int) -> list[bytes]:
        """The clip's frames as they are kept."""
        cell, crc = self._cells(shard, row, "frames", "frames_crc32")
        pieces = cell.as_py()
        if self.checked and crc32(pieces) != crc.as_py():
            raise self._damaged(shard, f"row {row} has frames that are not what was written")
        return pieces

    def pixels(self, shard: int, row: int) -> int:
        """How many pixels the clip's frames have together, read from their heads alone."""
        jpegs = self.jpegs(shard, row)
        try:
            width, height = Image.open(io.BytesIO(jpegs[0])).size
        except (OSError, SyntaxError, ValueError, IndexError) as error:
            raise self._damaged(shard, f"row {row} has a frame that is not a picture ({error})") from None
        return width * height * len(jpegs)

    def frames(self, shard: int, row: int) -> np.ndarray:
        """The clip's frames: uint8 (frames, height, width, 3), RGB."""
        try:
            pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in self.jpegs(shard, row)]
        except (OSError, SyntaxError) as error:
            raise self._damaged(shard, f"row {row} has a frame that is not a picture ({error})") from None
        return np.stack(pictures)

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with the index; StoreError names each damaged one."""
        wrong = [shard.name for shard, whole in self.verified() if not whole]
        if wrong:
            raise StoreError(f"{self.folder}: damaged or missing {', '.join(wrong)}: {_AGAIN}")

    def verified(self) -> Iterator[tuple[ShardInfo, bool]]:
        """Shard by shard, whether it is the one that was written."""
        for shard in self.shards:
            path = self.folder / shard.name
            there = path.exists() and path.stat().st_size == shard.bytes
            yield shard, there and checksum(path) == shard.sha256

    def _damaged(self, shard: int, what: str) -> StoreError:
        return StoreError(f"{self.folder / self.shards[shard].name}: {what}: {_AGAIN}")

    def _cells(self, shard: int, row: int, *columns: str) -> list[pa.Scalar]:
        if not 0 <= shard < len(self.shards) or not 0 <= row < self.shards[shard].clips:
            raise StoreError(f"{self.folder}: no clip at shard {shard}, row {row}")
        batch = self._batch(shard, row)
        try:
            return [batch[column][row % BATCH] for column in columns]
        except (pa.ArrowException, IndexError, KeyError) as error:
            raise self._damaged(shard, f"row {row} cannot be read ({error})") from None

    def _batch(self, shard: int, row: int) -> pa.RecordBatch:
        which = shard, row // BATCH
        if self._last[0] == which:  # a clip's sound and frames are asked for one after the other
            return self._last[1]
        try:
            reader = self._readers.get(shard) or self._open(shard)
            batch = reader.get_batch(row // BATCH)
            if self.checked:
                batch.validate(full=True)  # a wrong offset would be read as it is, beyond the end of the file
            self._last = which, batch
            return batch
        except (pa.ArrowException, IndexError, OSError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENOMEM, errno.EACCES):
                raise
            raise self._damaged(shard, f"cannot be read ({error})") from None

    def _open(self, shard: int) -> pa.ipc.RecordBatchFileReader:
        info, path = self.shards[shard], self.folder / self.shards[shard].name
        size = path.stat().st_size if path.exists() else None
        if size != info.bytes:
            raise self._damaged(shard, "missing" if size is None else f"{size} bytes instead of {info.bytes}")
        self._readers[shard] = pa.ipc.open_file(pa.memory_map(str(path)))
        return self._readers[shard]
