"""From shards to a store that appears whole.

`places.arrow` tells where each clip lies, and `shards.json` names every file with its clips, bytes and SHA-256.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from synesthesia.data.store import index as places
from synesthesia.data.store.shard import SHARD_INDEX_FILE, ShardInfo, ShardWriter, StoreError, shard_name


class StoreWriter:
    """Writes a store clip by clip; the folder appears, whole, when the `with` block ends without an error.

    One writer at a time: a second one, in this process or another, is refused with a StoreError.
    """

    def __init__(self, folder: str | os.PathLike, clips_per_shard: int):
        if clips_per_shard < 1:
            raise StoreError(f"shard_clips must be at least 1, is {clips_per_shard}")
        self.folder, self.clips_per_shard = Path(folder), clips_per_shard
        self._tmp_folder = self.folder.with_name(self.folder.name + ".tmp")
        self._shard_infos: list[ShardInfo] = []
        self._shard_writer: ShardWriter | None = None
        self._lock = ExitStack()

    def __enter__(self) -> StoreWriter:
        self._lock.enter_context(exclusive_lock(self._tmp_folder, f"another process is writing {self.folder}"))
        for left in self._tmp_folder.iterdir():  # by a writer that was killed
            left.unlink()
        return self

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> tuple[int, int]:
        """Append a clip, int16 (samples,) and its JPEGs; return the shard and row under which `Store` finds it."""
        if self._shard_writer is None:
            self._shard_writer = ShardWriter(self._tmp_folder / shard_name(len(self._shard_infos)))
        place = len(self._shard_infos), self._shard_writer.add(clip_id, audio, jpegs)
        if self._shard_writer.clips == self.clips_per_shard:
            self._shard_infos.append(self._shard_writer.close())
            self._shard_writer = None
        return place

    def __exit__(self, exc_type, *_) -> None:
        with self._lock:
            if exc_type is None:
                if self._shard_writer is not None:
                    self._shard_infos.append(self._shard_writer.close())
                publish(self._tmp_folder, self.folder, self._shard_infos)
                return
            if self._shard_writer is not None:
                self._shard_writer.abort()
            shutil.rmtree(self._tmp_folder, ignore_errors=True)


@contextmanager
def exclusive_lock(folder: Path, else_says: str) -> Iterator[None]:
    """Make the folder and hold its lock; StoreError where another process has it.

    The lock is the operating system's, on the folder itself: it ends with the process, however that ends.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = folder.exists() and os.path.samestat(os.fstat(held), os.stat(folder))
        except BlockingIOError:
            os.close(held)
            raise StoreError(f"{else_says}: wait for it, or stop it first") from None
        except BaseException:
            os.close(held)
            raise
        if same:
            break
        os.close(held)  # its last holder renamed or removed it meanwhile
    try:
        yield
    finally:
        os.close(held)


def publish(tmp_folder: Path, folder: Path, shards: Sequence[ShardInfo]) -> None:
    """Give a folder of finished shards its places and its index, and put it in `folder`'s place.

    Two renames, so whoever opens `folder` at any moment finds the old store, the new one or none, never a half.
    """
    index = {
        "shards": [asdict(shard) for shard in shards],
        "places": asdict(places.write_clip_index(tmp_folder, shards)),
    }
    (tmp_folder / SHARD_INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(tmp_folder, folder)
    shutil.rmtree(old, ignore_errors=True)


def collect_shards(shards: Sequence[tuple[Path, ShardInfo]], tmp_folder: Path) -> list[ShardInfo]:
    """Bring finished shards under their numbers into a new folder (by hard links where possible); for `publish`."""
    shutil.rmtree(tmp_folder, ignore_errors=True)
    tmp_folder.mkdir(parents=True)
    gathered = []
    for number, (path, info) in enumerate(shards):
        name = shard_name(number)
        try:
            os.link(path, tmp_folder / name)
        except OSError:
            shutil.copyfile(path, tmp_folder / name)
        gathered.append(replace(info, name=name))
    return gathered
