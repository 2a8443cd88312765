"""Curated clips on disk: a few hundred shards at most, any clip by its id or by its shard and row.

shards.py    what a shard is, and how one is written
places.py    where each clip lies in them, in one small file
writing.py   from shards to a store that appears whole, by one writer at a time
reading.py   any clip of a store, checked as it is read

    with StoreWriter("out/curate/store", shard_clips=256) as writer:
        shard, row = writer.add("abc_000010", audio, jpegs)
    store = Store("out/curate/store")
    store.audio(shard, row)                       # float32 (samples,) in [-1, 1)
    store.frames(*store.place("abc_000010"))      # uint8 (frames, height, width, 3)

`python -m synesthesia.data.store FOLDER` reads a whole store and names every damaged shard. Why Arrow, in figures:
docs/scale.md and `benchmarks/store.py`.
"""

from synesthesia.data.store.reader import Store
from synesthesia.data.store.shard import (
    CLIPS_PER_BATCH,
    SHARD_INDEX_FILE,
    ShardInfo,
    ShardWriter,
    StoreError,
    checksum,
    shard_name,
)
from synesthesia.data.store.writer import StoreWriter, collect_shards, publish

__all__ = [
    "CLIPS_PER_BATCH",
    "SHARD_INDEX_FILE",
    "ShardInfo",
    "ShardWriter",
    "Store",
    "StoreError",
    "StoreWriter",
    "checksum",
    "collect_shards",
    "publish",
    "shard_name",
]
