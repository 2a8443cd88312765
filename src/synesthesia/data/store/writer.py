"""From shards to a store that appears atomically.

`clip_index.arrow` locates each clip, and `shards.json` lists every file with its clips, bytes, and SHA-256.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from synesthesia.data.store.index import write_clip_index
from synesthesia.data.store.shard import SHARD_INDEX_FILE, ShardInfo, ShardWriter, StoreError, shard_name
from synesthesia.utils.io import FileLock, Timeout


class StoreWriter:
    """Writes a store clip by clip; the complete folder appears when the `with` block ends without an error.

    One writer at a time: a second one, in this process or another, is refused with a StoreError.

    Attributes:
        folder: Folder of the store.
        clips_per_shard: Number of clips per shard.
    """

    def __init__(self, folder: str | os.PathLike, clips_per_shard: int):
        """Prepare a writer; the `with` block starts it.

        Args:
            folder: Folder of the store; replaced if it exists.
            clips_per_shard: Number of clips per shard, at least 1.

        Raises:
            StoreError: `clips_per_shard` is less than 1.
        """
        if clips_per_shard < 1:
            raise StoreError(f"clips_per_shard must be at least 1, is {clips_per_shard}")
        self.folder, self.clips_per_shard = Path(folder), clips_per_shard
        self._tmp_folder = self.folder.with_name(self.folder.name + ".tmp")
        self._shard_infos: list[ShardInfo] = []
        self._shard_writer: ShardWriter | None = None
        self._lock = ExitStack()

    def __enter__(self) -> StoreWriter:
        self._lock.enter_context(exclusive_lock(self.folder))
        shutil.rmtree(self._tmp_folder, ignore_errors=True)  # of a killed writer
        self._tmp_folder.mkdir()
        return self

    def add(self, clip_id: str, audio: np.ndarray, jpegs: Sequence[bytes]) -> tuple[int, int]:
        """Append a clip.

        Args:
            clip_id: Id of the clip.
            audio: int16 (samples,).
            jpegs: Frames in order of time.

        Returns:
            Shard and row of the clip, for `Store`.

        Raises:
            StoreError: `audio` has another dtype or shape.
        """
        if self._shard_writer is None:
            self._shard_writer = ShardWriter(self._tmp_folder / shard_name(len(self._shard_infos)))
        location = len(self._shard_infos), self._shard_writer.add(clip_id, audio, jpegs)
        if self._shard_writer.clips == self.clips_per_shard:
            self._shard_infos.append(self._shard_writer.close())
            self._shard_writer = None
        return location

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a store; it ends with the process, however that ends.

    Args:
        folder: Folder of the store; its parent is created. The lock file `<folder>.lock` lies next to it.

    Yields:
        None, while the lock is held.

    Raises:
        StoreError: Another writer holds the lock.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock_path = folder.with_name(folder.name + ".lock")
    lock = FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(f"another process is writing {folder}: wait for it, or stop it first") from None
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)  # while held: FileLock retries if the file it locked was deleted
        lock.release()


def publish(tmp_folder: Path, folder: Path, shards: Sequence[ShardInfo]) -> None:
    """Write the index files of a folder of finished shards, and move it to `folder`.

    The move takes two renames, so a reader that opens `folder` at any moment finds the old store, the new one, or none,
    but never a partial one.

    Args:
        tmp_folder: Folder with the shards.
        folder: Folder of the store; replaced if it exists.
        shards: The shards, in order.

    Raises:
        StoreError: A shard is damaged.
    """
    manifest = {
        "shards": [asdict(shard) for shard in shards],
        "clip_index": asdict(write_clip_index(tmp_folder, shards)),
    }
    (tmp_folder / SHARD_INDEX_FILE).write_text(json.dumps(manifest, indent=1) + "\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    old_folder = folder.with_name(folder.name + ".old")
    shutil.rmtree(old_folder, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old_folder)
    os.replace(tmp_folder, folder)
    shutil.rmtree(old_folder, ignore_errors=True)


def collect_shards(shards: Sequence[tuple[Path, ShardInfo]], tmp_folder: Path) -> list[ShardInfo]:
    """Collect finished shards in a new folder for `publish`, by hard links where possible.

    Args:
        shards: Path and entry of each shard, in order.
        tmp_folder: The new folder; replaced if it exists.

    Returns:
        The entries under their names in the store.
    """
    shutil.rmtree(tmp_folder, ignore_errors=True)
    tmp_folder.mkdir(parents=True)
    renamed = []
    for index, (path, info) in enumerate(shards):
        name = shard_name(index)
        try:
            os.link(path, tmp_folder / name)
        except OSError:
            shutil.copyfile(path, tmp_folder / name)
        renamed.append(replace(info, name=name))
    return renamed
