"""Random access to the clips of a store: memory-mapped, and checked on every read."""

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
from synesthesia.data.store.shard import SHARD_INDEX_FILE, ShardInfo, StoreError, crc32
from synesthesia.utils.hashing import hash_file

_RESTORE_HINT = "remove the folder and run `dvc checkout`, or `dvc repro -f curate`"


class Store:
    """Reads a store. Instances can be sent to other processes; each maps the shards for itself.

    Attributes:
        folder: Folder of the store.
        verify_crc: Whether each read is compared with its CRC-32.
        shards: Entries of the shards, in order.
    """

    def __init__(self, folder: str | os.PathLike, verify_crc: bool = True):
        """Open a store.

        Args:
            folder: Folder of the store.
            verify_crc: Compare each read with its CRC-32, so that a damaged clip raises an error.

        Raises:
            StoreError: The store is missing, or its index files are damaged.
        """
        self.folder, self.verify_crc = Path(folder), verify_crc
        try:
            manifest, clip_index = self._read_index()
        except FileNotFoundError as error:
            raise StoreError(f"{self.folder / error.filename} is missing: run `dvc repro curate` first") from None
        try:
            entries = json.loads(manifest)
            self.shards = [ShardInfo(**entry) for entry in entries["shards"]]
            expected = ShardInfo(**entries["clip_index"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.folder / SHARD_INDEX_FILE} is not an index of a store ({error}): {_RESTORE_HINT}"
            ) from None
        self._shard_offsets = list(accumulate((shard.clips for shard in self.shards), initial=0))
        if hashlib.sha256(clip_index).hexdigest() != expected.sha256 or len(self) != expected.clips:
            raise StoreError(f"{self.folder / CLIP_INDEX_FILE} is damaged: {_RESTORE_HINT}")
        self._clip_index = ClipIndex(clip_index)
        self._mmaps: dict[int, memoryview] = {}
        self._locations: dict[str, tuple[int, int]] | None = None

    def _read_index(self) -> list[bytes]:
        """Read both index files of the same store, even if another one replaces it meanwhile."""
        folder_fd = os.open(self.folder, os.O_RDONLY)
        try:
            contents = []
            for name in (SHARD_INDEX_FILE, CLIP_INDEX_FILE):
                with open(name, "rb", opener=partial(os.open, dir_fd=folder_fd)) as file:
                    contents.append(file.read())
            return contents
        finally:
            os.close(folder_fd)

    def __len__(self) -> int:
        return self._shard_offsets[-1]

    def __reduce__(self) -> tuple:
        return Store, (self.folder, self.verify_crc)

    def locate(self, clip_id: str) -> tuple[int, int]:
        """Find a clip by its id.

        Args:
            clip_id: Id of the clip.

        Returns:
            Shard and row.

        Raises:
            StoreError: The store has no such clip.
        """
        if self._locations is None:
            locations = ((shard, row) for shard, info in enumerate(self.shards) for row in range(info.clips))
            self._locations = dict(zip(self._clip_index.clip_ids.to_pylist(), locations, strict=True))
        if clip_id not in self._locations:
            raise StoreError(f"{self.folder}: no clip {clip_id!r} among its {len(self)}")
        return self._locations[clip_id]

    def clip_id(self, shard: int, row: int) -> str:
        """Return the id of a clip.

        Args:
            shard: Index of the shard.
            row: Row in the shard.

        Returns:
            The id.

        Raises:
            StoreError: There is no such shard or row.
        """
        return self._clip_index.clip_ids[self._flat_index(shard, row)].as_py()

    def audio(self, shard: int, row: int) -> np.ndarray:
        """Read a clip's audio.

        Args:
            shard: Index of the shard.
            row: Row in the shard.

        Returns:
            float32 (samples,) in [-1, 1).

        Raises:
            StoreError: There is no such shard or row, or the data is damaged.
        """
        start, end, crc = self._clip_index.locate_audio(self._flat_index(shard, row))
        data = (self._mmaps.get(shard) or self._map_shard(shard))[start:end]
        if self.verify_crc and zlib.crc32(data) != crc:
            raise self._damage_error(shard, f"the audio of row {row} does not match its CRC-32")
        return np.multiply(np.frombuffer(data, "<i2"), np.float32(2**-15), dtype=np.float32)

    def jpegs(self, shard: int, row: int) -> list[bytes]:
        """Read a clip's frames without decoding them.

        Args:
            shard: Index of the shard.
            row: Row in the shard.

        Returns:
            One JPEG per frame, in order of time.

        Raises:
            StoreError: There is no such shard or row, or the data is damaged.
        """
        start, sizes, crc = self._clip_index.locate_frames(self._flat_index(shard, row))
        mapped, jpegs = self._mmaps.get(shard) or self._map_shard(shard), []
        for size in sizes:
            jpegs.append(mapped[start : start + size].tobytes())
            start += size
        if self.verify_crc and crc32(jpegs) != crc:
            raise self._damage_error(shard, f"the frames of row {row} do not match their CRC-32")
        return jpegs

    def num_pixels(self, shard: int, row: int) -> int:
        """Count the pixels of all frames of a clip, from the JPEG headers alone.

        Args:
            shard: Index of the shard.
            row: Row in the shard.

        Returns:
            Width times height times number of frames.

        Raises:
            StoreError: There is no such shard or row, or the data is damaged.
        """
        jpegs = self.jpegs(shard, row)
        try:
            width, height = Image.open(io.BytesIO(jpegs[0])).size
        except (OSError, SyntaxError, ValueError, IndexError) as error:
            raise self._damage_error(shard, f"row {row} has a frame that is not an image ({error})") from None
        return width * height * len(jpegs)

    def frames(self, shard: int, row: int) -> np.ndarray:
        """Read and decode a clip's frames.

        Args:
            shard: Index of the shard.
            row: Row in the shard.

        Returns:
            RGB uint8 (frames, height, width, 3).

        Raises:
            StoreError: There is no such shard or row, or the data is damaged.
        """
        try:
            images = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in self.jpegs(shard, row)]
        except (OSError, SyntaxError) as error:
            raise self._damage_error(shard, f"row {row} has a frame that is not an image ({error})") from None
        return np.stack(images)

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with `shards.json`.

        Raises:
            StoreError: Shards are damaged or missing; the message names each.
        """
        damaged = [shard.name for shard, is_intact in self.check_shards() if not is_intact]
        if damaged:
            raise StoreError(f"{self.folder}: damaged or missing {', '.join(damaged)}: {_RESTORE_HINT}")

    def check_shards(self) -> Iterator[tuple[ShardInfo, bool]]:
        """Compare every shard with its size and SHA-256.

        Yields:
            Entry of the shard, and whether the file matches it.
        """
        for shard in self.shards:
            path = self.folder / shard.name
            has_size = path.exists() and path.stat().st_size == shard.bytes
            yield shard, has_size and hash_file(path) == shard.sha256

    def _flat_index(self, shard: int, row: int) -> int:
        """Return a clip's index among all clips of the store."""
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
