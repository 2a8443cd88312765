"""Curated clips on disk: a few hundred shards, random access by clip id or by shard and row. No decoding of video here.

shard.py     the shard format and its writer
index.py     byte offsets of every clip, in one small file
writer.py    from shards to a store that appears atomically, one writer at a time
reader.py    any clip of a store, checked as it is read

    with StoreWriter("out/curate/store", clips_per_shard=256) as writer:
        shard, row = writer.add("abc_000010", audio, jpegs)
    store = Store("out/curate/store")
    store.audio(shard, row)                        # float32 (samples,) in [-1, 1)
    store.frames(*store.locate("abc_000010"))      # uint8 (frames, height, width, 3)

`python -m synesthesia.data.store FOLDER` verifies a whole store and names every damaged shard. `benchmarks/store.py`
compares the format with others.
"""

from synesthesia.data.store.reader import Store
from synesthesia.data.store.shard import (
    CLIPS_PER_BATCH,
    SHARD_INDEX_FILE,
    ShardInfo,
    ShardWriter,
    StoreError,
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
    "collect_shards",
    "publish",
    "shard_name",
]
