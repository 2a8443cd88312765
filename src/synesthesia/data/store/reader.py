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

from synesthesia.data.store.index import CLIP_INDEX_FILE, ClipIndex
from synesthesia.data.store.shard import SHARD_INDEX_FILE, ShardInfo, StoreError, checksum, crc32

_RESTORE_HINT = "remove the folder and run `dvc checkout`, or `dvc repro -f curate`"


class Store:
    """Reads a store. Safe to hand to other processes (each maps the shards for itself).

    `checked` compares what is read with its CRC-32, so that a damaged clip is an error and never an answer.
    """

    def __init__(self, folder: str | os.PathLike, verify_crc: bool = True):
        self.folder, self.verify_crc = Path(folder), verify_crc
        try:
            index, places = self._read_index()
        except FileNotFoundError as error:
            raise StoreError(f"{self.folder / error.filename} is missing: run `dvc repro curate` first") from None
        try:
            entries = json.loads(index)
            self.shards = [ShardInfo(**entry) for entry in entries["shards"]]
            expected = ShardInfo(**entries["places"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.folder / SHARD_INDEX_FILE} is not an index of a store ({error}): {_RESTORE_HINT}"
            ) from None
        self._shard_offsets = list(accumulate((shard.clips for shard in self.shards), initial=0))
        if hashlib.sha256(places).hexdigest() != expected.sha256 or len(self) != expected.clips:
            raise StoreError(f"{self.folder / CLIP_INDEX_FILE} is damaged: {_RESTORE_HINT}")
        self._clip_index = ClipIndex(places)
        self._mmaps: dict[int, memoryview] = {}
        self._locations: dict[str, tuple[int, int]] | None = None

    def _read_index(self) -> list[bytes]:
        """The index and the places of one and the same store, should another take its place meanwhile."""
        held = os.open(self.folder, os.O_RDONLY)
        try:
            found = []
            for name in (SHARD_INDEX_FILE, CLIP_INDEX_FILE):
                with open(name, "rb", opener=partial(os.open, dir_fd=held)) as file:
                    found.append(file.read())
            return found
        finally:
            os.close(held)

    def __len__(self) -> int:
        return self._shard_offsets[-1]

    def __reduce__(self) -> tuple:
        return Store, (self.folder, self.verify_crc)

    def locate(self, clip_id: str) -> tuple[int, int]:
        """Shard and row of a clip; StoreError where the store does not have it."""
        if self._locations is None:
            rows = ((shard, row) for shard, info in enumerate(self.shards) for row in range(info.clips))
            self._locations = dict(zip(self._clip_index.clip_ids.to_pylist(), rows, strict=True))
        if clip_id not in self._locations:
            raise StoreError(f"{self.folder}: no clip {clip_id!r} among its {len(self)}")
        return self._locations[clip_id]

    def clip_id(self, shard: int, row: int) -> str:
        """The id of the clip that lies there."""
        return self._clip_index.clip_ids[self._flat_index(shard, row)].as_py()

    def audio(self, shard: int, row: int) -> np.ndarray:
        """The clip's sound: float32 (samples,) in [-1, 1)."""
        start, end, crc = self._clip_index.locate_audio(self._flat_index(shard, row))
        sound = (self._mmaps.get(shard) or self._map_shard(shard))[start:end]
        if self.verify_crc and zlib.crc32(sound) != crc:
            raise self._damage_error(shard, f"row {row} has sound that is not what was written")
        return np.multiply(np.frombuffer(sound, "<i2"), np.float32(2**-15), dtype=np.float32)

    def jpegs(self, shard: int, row: int) -> list[bytes]:
        """The clip's frames as they are kept."""
        start, sizes, crc = self._clip_index.locate_frames(self._flat_index(shard, row))
        mapped, pieces = self._mmaps.get(shard) or self._map_shard(shard), []
        for size in sizes:
            pieces.append(mapped[start : start + size].tobytes())
            start += size
        if self.verify_crc and crc32(pieces) != crc:
            raise self._damage_error(shard, f"row {row} has frames that are not what was written")
        return pieces

    def num_pixels(self, shard: int, row: int) -> int:
        """How many pixels the clip's frames have together, read from their heads alone."""
        jpegs = self.jpegs(shard, row)
        try:
            width, height = Image.open(io.BytesIO(jpegs[0])).size
        except (OSError, SyntaxError, ValueError, IndexError) as error:
            raise self._damage_error(shard, f"row {row} has a frame that is not a picture ({error})") from None
        return width * height * len(jpegs)

    def frames(self, shard: int, row: int) -> np.ndarray:
        """The clip's frames: uint8 (frames, height, width, 3), RGB."""
        try:
            pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in self.jpegs(shard, row)]
        except (OSError, SyntaxError) as error:
            raise self._damage_error(shard, f"row {row} has a frame that is not a picture ({error})") from None
        return np.stack(pictures)

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with the index; StoreError names each damaged one."""
        wrong = [shard.name for shard, whole in self.check_shards() if not whole]
        if wrong:
            raise StoreError(f"{self.folder}: damaged or missing {', '.join(wrong)}: {_RESTORE_HINT}")

    def check_shards(self) -> Iterator[tuple[ShardInfo, bool]]:
        """Shard by shard, whether it is the one that was written."""
        for shard in self.shards:
            path = self.folder / shard.name
            there = path.exists() and path.stat().st_size == shard.bytes
            yield shard, there and checksum(path) == shard.sha256

    def _flat_index(self, shard: int, row: int) -> int:
        """A clip's place among all of the store's."""
        if not 0 <= shard < len(self.shards) or not 0 <= row < self.shards[shard].clips:
            raise StoreError(f"{self.folder}: no clip at shard {shard}, row {row}")
        return self._shard_offsets[shard] + row

    def _map_shard(self, shard: int) -> memoryview:
        info, path = self.shards[shard], self.folder / self.shards[shard].name
        size = path.stat().st_size if path.exists() else None
        if size != info.bytes:
            raise self._damage_error(shard, "missing" if size is None else f"{size} bytes instead of {info.bytes}")
        with open(path, "rb") as file:
            self._mmaps[shard] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._mmaps[shard]

    def _damage_error(self, shard: int, problem: str) -> StoreError:
        return StoreError(f"{self.folder / self.shards[shard].name}: {problem}: {_RESTORE_HINT}")
