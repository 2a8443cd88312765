"""Shards: what goes in comes out, whole or not at all, and damage is named."""

import errno
import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from synesthesia.data import store
from synesthesia.data.store import Store, StoreError, StoreWriter, __main__


def clip(n: int) -> tuple[str, np.ndarray, list[bytes]]:
    rng = np.random.default_rng(n)
    jpegs = []
    for _ in range(2):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (4 + 2 * (n % 3), 6, 3), np.uint8)).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    return f"é{n}_000010", rng.integers(-32768, 32767, 50 + n, np.int16), jpegs


def fill(folder, count: int = 40, clips_per_shard: int = 18) -> list[tuple[int, int]]:
    with StoreWriter(folder, clips_per_shard) as writer:
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
    names = ["clip_index.arrow", "shard-00000.arrow", "shards.json"]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == names


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


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_damaged_places_are_named_when_the_store_is_opened(tmp_path, harm):
    fill(tmp_path / "store")
    path = tmp_path / "store/clip_index.arrow"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:-1] if harm == "cut" else data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    if harm == "gone":
        path.unlink()
    with pytest.raises(StoreError, match=r"clip_index\.arrow is (damaged|missing).*dvc"):
        Store(tmp_path / "store")


@pytest.mark.parametrize("frames", [[0] * 40, [0] * 16 + [2] * 16 + [0] * 5, [0, 3, 0] * 11])
def test_clips_may_have_no_frame_or_no_sound(tmp_path, frames):
    clips = [
        (f"{n}", np.arange(n % 3, dtype=np.int16), [b"x" * (n + k) for k in range(c)]) for n, c in enumerate(frames)
    ]
    with StoreWriter(tmp_path / "store", 35) as writer:
        places = [writer.add(*clip) for clip in clips]
    opened = Store(tmp_path / "store")
    for (_, audio, jpegs), place in zip(clips, places, strict=True):
        assert np.array_equal(opened.audio(*place) * 32768, audio) and opened.jpegs(*place) == jpegs


def test_a_store_is_found_where_its_shards_say_that_it_lies(tmp_path):
    """`clip_index.arrow` says nothing that a shard alone, read by any Arrow library, does not say."""
    fill(tmp_path / "store")
    opened = Store(tmp_path / "store")
    for shard, info in enumerate(opened.shards):
        table = pa.ipc.open_file(tmp_path / "store" / info.name).read_all()
        for row, name in enumerate(table["clip_id"].to_pylist()):
            assert opened.locate(name) == (shard, row) and opened.clip_id(shard, row) == name
            assert opened.jpegs(shard, row) == table["frames"][row].as_py()
            assert (opened.audio(shard, row) * 32768).astype("<i2").tobytes() == table["audio"][row].as_py()


def test_a_clip_is_read_from_its_own_bytes_alone(tmp_path):
    """So a read costs the same in a store of any size: nothing else of the shard is looked at, its heads neither."""
    places = fill(tmp_path / "store")
    for n in (0, 17, 25, 39):
        name, audio, jpegs = clip(n)
        shard, row = places[n]
        path = tmp_path / "store" / store.shard_name(shard)
        whole = path.read_bytes()
        alone = bytearray(b"\xa5" * len(whole))
        for data in (audio.tobytes(), b"".join(jpegs)):
            start = whole.index(data)
            alone[start : start + len(data)] = data
        path.write_bytes(alone)
        opened = Store(tmp_path / "store")
        assert opened.locate(name) == (shard, row) and opened.jpegs(shard, row) == jpegs
        assert np.array_equal(opened.audio(shard, row) * 32768, audio)
        path.write_bytes(whole)


def test_a_frame_that_is_no_picture_is_an_error_that_names_the_row(tmp_path):
    with StoreWriter(tmp_path / "store", 4) as writer:
        writer.add("a", np.zeros(3, np.int16), [b"not a jpeg"])  # as it was written, so no checksum complains
    with pytest.raises(StoreError, match=r"shard-00000\.arrow: row 0"):
        Store(tmp_path / "store").frames(0, 0)


def test_missing_foreign_and_outside_are_errors(tmp_path):
    with pytest.raises(StoreError, match="dvc repro curate"):
        Store(tmp_path / "none")
    (tmp_path / "shards.json").write_text("[]")
    (tmp_path / "clip_index.arrow").write_bytes(b"")
    with pytest.raises(StoreError, match="not an index"):
        Store(tmp_path)
    fill(tmp_path / "store")
    for place in [(9, 0), (2, 4), (0, -1), (-1, 0)]:
        with pytest.raises(StoreError, match="no clip at"):
            Store(tmp_path / "store").audio(*place)
    with pytest.raises(StoreError, match="int16"), StoreWriter(tmp_path / "x", 2) as writer:
        writer.add("a", np.zeros(3), [])


def test_a_clip_is_found_by_its_id(tmp_path):
    places = fill(tmp_path / "store")
    opened = Store(tmp_path / "store")
    assert [opened.locate(clip(n)[0]) for n in range(40)] == places
    with pytest.raises(StoreError, match=r"no clip 'nobody_000001' among its 40"):
        opened.locate("nobody_000001")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_clip_of_a_damaged_shard_is_as_it_was_written_or_an_error_that_names_the_shard(tmp_path, place, change):
    folder = tmp_path / "store"
    if not folder.exists():
        fill(folder, 20, 20)
    path = folder / store.shard_name(0)
    whole = path.read_bytes()
    data = bytearray(whole)
    data[int(place * len(data))] ^= change
    path.write_bytes(data)
    try:
        opened = Store(folder)
        for n in range(20):
            name, audio, jpegs = clip(n)
            try:
                assert np.array_equal(opened.audio(0, n) * 32768, audio) and opened.jpegs(0, n) == jpegs, name
            except StoreError as error:
                assert "shard-00000.arrow" in str(error)
        with pytest.raises(StoreError, match=r"shard-00000\.arrow"):
            opened.verify()
    finally:
        path.write_bytes(whole)


def test_the_command_line_verifies_a_store(tmp_path, capsys):
    fill(tmp_path / "store")
    __main__.main([str(tmp_path / "store")])
    assert "good: 40 clips in 3 shards" in capsys.readouterr().out
    (tmp_path / "store" / store.shard_name(1)).write_bytes(b"")
    with pytest.raises(SystemExit, match=r"damaged or missing shard-00001\.arrow"):
        __main__.main([str(tmp_path / "store")])
    with pytest.raises(SystemExit, match="is missing"):
        __main__.main([str(tmp_path / "none")])


WRITES = """
import sys, time, numpy as np
from synesthesia.data.store import StoreWriter
with StoreWriter(sys.argv[1], 2) as writer:
    for n in range(5):
        writer.add(f"new{n}", np.zeros(9, np.int16), [b""])
    print("writing", flush=True)
    time.sleep(60)
"""


def writing(folder) -> subprocess.Popen:
    """Another process in the middle of writing a store."""
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_a_second_writer_is_refused_and_a_dead_one_is_no_hindrance(tmp_path):
    fill(tmp_path / "store", 3)
    process = writing(tmp_path / "store")
    with (
        pytest.raises(StoreError, match=r"another process is writing .*store: wait for it"),
        StoreWriter(tmp_path / "store", 2),
    ):
        pytest.fail("two writers at once")
    assert process.poll() is None and len(Store(tmp_path / "store")) == 3
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(Store(tmp_path / "store")) == 3  # the old store is whole, nothing of the new one shows
    fill(tmp_path / "store", 7)
    assert len(Store(tmp_path / "store")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.slow
def test_who_reads_while_stores_are_replaced_sees_whole_ones_or_none(tmp_path):
    fill(tmp_path / "store", 4, 2)
    loop = "import sys; sys.path.insert(0, sys.argv[2])\nimport test_store as t, pathlib\n"
    loop += "for n in range(30): t.fill(pathlib.Path(sys.argv[1]), 4, 2)"
    command = [sys.executable, "-c", loop, str(tmp_path / "store"), os.path.dirname(__file__)]
    process = subprocess.Popen(command)
    seen = 0
    while process.poll() is None:
        try:
            opened = Store(tmp_path / "store")
        except StoreError as error:
            assert "is missing" in str(error)
            time.sleep(0.0005)
            continue
        assert [shard.clips for shard in opened.shards] == [2, 2]
        seen += 1
    assert process.returncode == 0 and seen > 10


def test_a_file_that_may_not_grow_leaves_the_old_store_and_no_half(tmp_path):
    fill(tmp_path / "store", 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            fill(tmp_path / "store", 400, 400)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert len(Store(tmp_path / "store")) == 3 and [path.name for path in tmp_path.iterdir()] == ["store"]
