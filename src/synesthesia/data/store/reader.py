"""Any clip of a store, memory-mapped, checked as it is read."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from synesthesia.data.store.index import PLACES, Places
from synesthesia.data.store.shard import INDEX, ShardInfo, StoreError, checksum, crc32

_AGAIN = "remove the folder and run `dvc checkout`, or `dvc repro -f curate`"


class Store:
    """Reads a store. Safe to hand to other processes (each maps the shards for itself).

    `checked` compares what is read with its CRC-32, so that a damaged clip is an error and never an answer.
    """

    def __init__(self, folder: str | os.PathLike, checked: bool = True):
        self.folder, self.checked = Path(folder), checked
        try:
            index, places = self._both()
        except FileNotFoundError as error:
            raise StoreError(f"{self.folder / error.filename} is missing: run `dvc repro curate` first") from None
        try:
            entries = json.loads(index)
            self.shards = [ShardInfo(**entry) for entry in entries["shards"]]
            expected = ShardInfo(**entries["places"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder / INDEX} is not an index of a store ({error}): {_AGAIN}") from None
        self._first = list(accumulate((shard.clips for shard in self.shards), initial=0))
        if hashlib.sha256(places).hexdigest() != expected.sha256 or len(self) != expected.clips:
            raise StoreError(f"{self.folder / PLACES} is damaged: {_AGAIN}")
        self._places = Places(places)
        self._mapped: dict[int, memoryview] = {}
        self._by_id: dict[str, tuple[int, int]] | None = None

    def _both(self) -> list[bytes]:
        """The index and the places of one and the same store, should another take its place meanwhile."""
        held = os.open(self.folder, os.O_RDONLY)
        try:
            found = []
            for name in (INDEX, PLACES):
                with open(name, "rb", opener=partial(os.open, dir_fd=held)) as file:
                    found.append(file.read())
            return found
        finally:
            os.close(held)

    def __len__(self) -> int:
        return self._first[-1]

    def __reduce__(self) -> tuple:
        return Store, (self.folder, self.checked)

    def place(self, clip_id: str) -> tuple[int, int]:
        """Shard and row of a clip; StoreError where the store does not have it."""
        if self._by_id is None:
            rows = ((shard, row) for shard, info in enumerate(self.shards) for row in range(info.clips))
            self._by_id = dict(zip(self._places.clip_ids.to_pylist(), rows, strict=True))
        if clip_id not in self._by_id:
            raise StoreError(f"{self.folder}: no clip {clip_id!r} among its {len(self)}")
        return self._by_id[clip_id]

    def clip_id(self, shard: int, row: int) -> str:
        """The id of the clip that lies there."""
        return self._places.clip_ids[self._clip(shard, row)].as_py()

    def audio(self, shard: int, row: int) -> np.ndarray:
        """The clip's sound: float32 (samples,) in [-1, 1)."""
        start, end, crc = self._places.audio(self._clip(shard, row))
        sound = (self._mapped.get(shard) or self._map(shard))[start:end]
        if self.checked and zlib.crc32(sound) != crc:
            raise self._damaged(shard, f"row {row} has sound that is not what was written")
        return np.multiply(np.frombuffer(sound, "<i2"), np.float32(2**-15), dtype=np.float32)

    def jpegs(self, shard: int, row: int) -> list[bytes]:
        """The clip's frames as they are kept."""
        start, sizes, crc = self._places.frames(self._clip(shard, row))
        mapped, pieces = self._mapped.get(shard) or self._map(shard), []
        for size in sizes:
            pieces.append(mapped[start : start + size].tobytes())
            start += size
        if self.checked and crc32(pieces) != crc:
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

    def _clip(self, shard: int, row: int) -> int:
        """A clip's place among all of the store's."""
        if not 0 <= shard < len(self.shards) or not 0 <= row < self.shards[shard].clips:
            raise StoreError(f"{self.folder}: no clip at shard {shard}, row {row}")
        return self._first[shard] + row

    def _map(self, shard: int) -> memoryview:
        info, path = self.shards[shard], self.folder / self.shards[shard].name
        size = path.stat().st_size if path.exists() else None
        if size != info.bytes:
            raise self._damaged(shard, "missing" if size is None else f"{size} bytes instead of {info.bytes}")
        with open(path, "rb") as file:
            self._mapped[shard] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._mapped[shard]

    def _damaged(self, shard: int, what: str) -> StoreError:
        return StoreError(f"{self.folder / self.shards[shard].name}: {what}: {_AGAIN}")
