"""Curated clips on disk: a few hundred shards at most, any clip by its shard and row.

A shard is an Arrow IPC file (Feather version 2, not compressed) with the columns `clip_id`, `audio` (int16, little
endian, mono) and `frames` (a list of JPEGs). Arrow, since it is memory-mapped: reading a clip touches that clip's
pages and nothing else, at any size of the store, from any number of processes that share the pages; and it is the
format that the project's tables have already. A shard consists of record batches of `BATCH` clips, so that writing one
takes the memory of a batch. `shards.json` names every shard with its clips, bytes and SHA-256.

    with StoreWriter("out/curate/store", shard_clips=256) as writer:
        shard, row = writer.add("abc_000010", audio, jpegs)
    store = Store("out/curate/store")
    store.audio(shard, row)     # float32 (samples,) in [-1, 1)
    store.frames(shard, row)    # uint8 (frames, height, width, 3)
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

BATCH = 16  # clips a record batch: 11 MB at the paper's size
INDEX = "shards.json"
SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("audio", pa.binary(), nullable=False),
        pa.field("frames", pa.list_(pa.binary()), nullable=False),
    ]
)


class StoreError(ValueError):
    """A store that is missing, half there or damaged; the message names the shard and what to do."""


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
        self._beside = self.path.with_name(self.path.name + ".tmp")
        self._rows: list[tuple[str, bytes, list[bytes]]] = []
        self._file = open(self._beside, "wb")  # noqa: SIM115 - closed by close and abort
        self._writer = pa.ipc.new_file(self._file, SCHEMA)

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> int:
        """Append a clip, int16 (samples,) and its JPEGs; return its row."""
        if audio.dtype != np.int16 or audio.ndim != 1:
            raise StoreError(f"clip {clip_id}: audio must be int16 (samples,), is {audio.dtype} {audio.shape}")
        self._rows.append((clip_id, audio.astype("<i2", copy=False).tobytes(), list(jpegs)))
        if len(self._rows) == BATCH:
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
        info = ShardInfo(self.path.name, self.clips, self._beside.stat().st_size, checksum(self._beside))
        os.replace(self._beside, self.path)
        return info

    def abort(self) -> None:
        """Drop what was written."""
        self._file.close()
        self._beside.unlink(missing_ok=True)


class StoreWriter:
    """Writes a store clip by clip; the folder appears, whole, when the `with` block ends without an error."""

    def __init__(self, folder: str | os.PathLike, shard_clips: int):
        if shard_clips < 1:
            raise StoreError(f"shard_clips must be at least 1, is {shard_clips}")
        self.folder, self.shard_clips = Path(folder), shard_clips
        self._beside = self.folder.with_name(self.folder.name + ".tmp")
        self._done: list[ShardInfo] = []
        self._shard: ShardWriter | None = None

    def __enter__(self) -> StoreWriter:
        shutil.rmtree(self._beside, ignore_errors=True)
        self._beside.mkdir(parents=True)
        return self

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> tuple[int, int]:
        """Append a clip, int16 (samples,) and its JPEGs; return the shard and row under which `Store` finds it."""
        if self._shard is None:
            self._shard = ShardWriter(self._beside / shard_name(len(self._done)))
        place = len(self._done), self._shard.add(clip_id, audio, jpegs)
        if self._shard.clips == self.shard_clips:
            self._done.append(self._shard.close())
            self._shard = None
        return place

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            if self._shard is not None:
                self._done.append(self._shard.close())
            publish(self._beside, self.folder, self._done)
            return
        if self._shard is not None:
            self._shard.abort()
        shutil.rmtree(self._beside, ignore_errors=True)


def publish(prepared: Path, folder: Path, shards: Sequence[ShardInfo]) -> None:
    """Give a folder of finished shards its index, and put it in `folder`'s place in one rename."""
    (prepared / INDEX).write_text(json.dumps({"shards": [asdict(s) for s in shards]}, indent=1) + "\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(prepared, folder)


def gather(shards: Sequence[tuple[Path, ShardInfo]], prepared: Path) -> list[ShardInfo]:
    """Bring finished shards under their numbers into a new folder (by hard links where possible); for `publish`."""
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    gathered = []
    for number, (path, info) in enumerate(shards):
        name = shard_name(number)
        try:
            os.link(path, prepared / name)
        except OSError:
            shutil.copyfile(path, prepared / name)
        gathered.append(replace(info, name=name))
    return gathered


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.arrow"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Reads a store. Cheap to open, safe to hand to other processes (each maps the shards for itself)."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        try:
            entries = json.loads((self.folder / INDEX).read_text())["shards"]
            self.shards = [ShardInfo(**entry) for entry in entries]
        except FileNotFoundError:
            raise StoreError(f"{self.folder / INDEX} is missing: run `dvc repro curate` first") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder / INDEX} is not an index of a store ({error}): {_AGAIN}") from None
        self._readers: dict[int, pa.ipc.RecordBatchFileReader] = {}

    def __len__(self) -> int:
        return sum(shard.clips for shard in self.shards)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_readers": {}}

    def clip_id(self, shard: int, row: int) -> str:
        """The id of the clip that lies there."""
        return self._cell("clip_id", shard, row).as_py()

    def audio(self, shard: int, row: int) -> np.ndarray:
        """The clip's sound: float32 (samples,) in [-1, 1)."""
        samples = np.frombuffer(self._cell("audio", shard, row).as_buffer(), "<i2")
        return samples.astype(np.float32) / np.float32(32768)

    def jpegs(self, shard: int, row: int) -> list[bytes]:
        """The clip's frames as they are kept."""
        return self._cell("frames", shard, row).as_py()

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
        except (OSError, SyntaxError, ValueError) as error:
            raise self._damaged(shard, f"row {row} has a frame that is not a picture ({error})") from None
        return np.stack(pictures)

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 with the index; StoreError names each damaged one."""
        wrong = []
        for shard in self.shards:
            path = self.folder / shard.name
            if not path.exists() or path.stat().st_size != shard.bytes or checksum(path) != shard.sha256:
                wrong.append(shard.name)
        if wrong:
            raise StoreError(f"{self.folder}: damaged or missing {', '.join(wrong)}: {_AGAIN}")

    def _damaged(self, shard: int, what: str) -> StoreError:
        return StoreError(f"{self.folder / self.shards[shard].name}: {what}: {_AGAIN}")

    def _cell(self, column: str, shard: int, row: int) -> pa.Scalar:
        if not 0 <= shard < len(self.shards) or not 0 <= row < self.shards[shard].clips:
            raise StoreError(f"{self.folder}: no clip at shard {shard}, row {row}")
        try:
            reader = self._readers.get(shard) or self._open(shard)
            return reader.get_batch(row // BATCH)[column][row % BATCH]
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


_AGAIN = "remove the folder and run `dvc checkout`, or `dvc repro -f curate`"
