"""Shards: what goes in comes out, whole or not at all, and damage is named."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from synesthesia import store
from synesthesia.store import Store, StoreError, StoreWriter


def clip(n: int) -> tuple[str, np.ndarray, list[bytes]]:
    rng = np.random.default_rng(n)
    jpegs = []
    for _ in range(2):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (4 + 2 * (n % 3), 6, 3), np.uint8)).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    return f"é{n}_000010", rng.integers(-32768, 32767, 50 + n, np.int16), jpegs


def fill(folder, count: int = 40, shard_clips: int = 18) -> list[tuple[int, int]]:
    with StoreWriter(folder, shard_clips) as writer:
        return [writer.add(*clip(n)) for n in range(count)]


def test_every_clip_comes_out_as_it_went_in(tmp_path):
    places = fill(tmp_path / "store")
    opened = Store(tmp_path / "store")
    assert len(opened) == 40 and [s.clips for s in opened.shards] == [18, 18, 4]
    for n in np.random.default_rng(0).permutation(40):
        name, audio, jpegs = clip(n)
        shard, row = places[n]
        assert opened.clip_id(shard, row) == name
        sound = opened.audio(shard, row)
        assert sound.dtype == np.float32 and sound.min() >= -1 and sound.max() < 1
        assert np.array_equal(sound * 32768, audio)
        assert opened.jpegs(shard, row) == jpegs
        frames = opened.frames(shard, row)
        assert frames.dtype == np.uint8 and frames.shape == (2, 4 + 2 * (n % 3), 6, 3)


def test_same_clips_same_bytes(tmp_path):
    fill(tmp_path / "a")
    fill(tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_opened_store_can_be_handed_to_another_process(tmp_path):
    fill(tmp_path / "store")
    opened = Store(tmp_path / "store")
    opened.audio(0, 0)
    assert np.array_equal(pickle.loads(pickle.dumps(opened)).audio(1, 3), opened.audio(1, 3))


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "store", 4) as writer:
        for n in range(6):
            writer.add(*clip(n))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_new_store_takes_the_place_of_the_old_one(tmp_path):
    fill(tmp_path / "store", 40)
    fill(tmp_path / "store", 3)
    assert len(Store(tmp_path / "store")) == 3
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["shard-00000.arrow", "shards.json"]


def test_a_flipped_bit_is_found_and_its_shard_named(tmp_path):
    fill(tmp_path / "store")
    path = tmp_path / "store" / store.shard_name(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"shard-00001\.arrow.*dvc"):
        Store(tmp_path / "store").verify()


def test_an_intact_store_verifies(tmp_path):
    fill(tmp_path / "store")
    Store(tmp_path / "store").verify()


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_cut_or_missing_shard_is_named_when_it_is_read(tmp_path, harm):
    fill(tmp_path / "store")
    path = tmp_path / "store" / store.shard_name(2)
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-100])
    opened = Store(tmp_path / "store")
    assert opened.clip_id(0, 0) == clip(0)[0]
    with pytest.raises(StoreError, match=r"shard-00002\.arrow"):
        opened.audio(2, 0)
    with pytest.raises(StoreError, match=r"shard-00002\.arrow"):
        opened.verify()


def test_a_frame_that_is_no_picture_is_an_error_that_names_the_row(tmp_path):
    with StoreWriter(tmp_path / "store", 4) as writer:
        writer.add("a", np.zeros(3, np.int16), [b"not a jpeg"])
    with pytest.raises(StoreError, match=r"shard-00000\.arrow: row 0"):
        Store(tmp_path / "store").frames(0, 0)


def test_missing_foreign_and_outside_are_errors(tmp_path):
    with pytest.raises(StoreError, match="dvc repro curate"):
        Store(tmp_path / "none")
    (tmp_path / "shards.json").write_text("[]")
    with pytest.raises(StoreError, match="not an index"):
        Store(tmp_path)
    fill(tmp_path / "store")
    for place in [(9, 0), (2, 4), (0, -1), (-1, 0)]:
        with pytest.raises(StoreError, match="no clip at"):
            Store(tmp_path / "store").audio(*place)
    with pytest.raises(StoreError, match="int16"), StoreWriter(tmp_path / "x", 2) as writer:
        writer.add("a", np.zeros(3), [])
