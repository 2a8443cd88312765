"""The clip store: round trip, atomic replacement, and detection of damage."""

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


def make_clip(n: int) -> tuple[str, np.ndarray, list[bytes]]:
    rng = np.random.default_rng(n)
    jpegs = []
    for _ in range(2):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (4 + 2 * (n % 3), 6, 3), np.uint8)).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    return f"é{n}_000010", rng.integers(-32768, 32767, 50 + n, np.int16), jpegs


def write_store(folder, count: int = 40, clips_per_shard: int = 18) -> list[tuple[int, int]]:
    with StoreWriter(folder, clips_per_shard) as writer:
        return [writer.add(*make_clip(n)) for n in range(count)]


def test_round_trip_of_every_clip(tmp_path):
    locations = write_store(tmp_path / "store")
    opened = Store(tmp_path / "store")
    assert len(opened) == 40 and [s.clips for s in opened.shards] == [18, 18, 4]
    for n in np.random.default_rng(0).permutation(40):
        name, audio, jpegs = make_clip(n)
        shard, row = locations[n]
        assert opened.clip_id(shard, row) == name
        samples = opened.audio(shard, row)
        assert samples.dtype == np.float32 and samples.min() >= -1 and samples.max() < 1
        assert np.array_equal(samples * 32768, audio)
        assert opened.jpegs(shard, row) == jpegs
        frames = opened.frames(shard, row)
        assert frames.dtype == np.uint8 and frames.shape == (2, 4 + 2 * (n % 3), 6, 3)


def test_same_clips_give_the_same_bytes(tmp_path):
    write_store(tmp_path / "a")
    write_store(tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_open_store_can_be_pickled(tmp_path):
    write_store(tmp_path / "store")
    opened = Store(tmp_path / "store")
    opened.audio(0, 0)
    assert np.array_equal(pickle.loads(pickle.dumps(opened)).audio(1, 3), opened.audio(1, 3))


def test_error_while_writing_leaves_no_files(tmp_path):
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "store", 4) as writer:
        for n in range(6):
            writer.add(*make_clip(n))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_new_store_replaces_the_old_one(tmp_path):
    write_store(tmp_path / "store", 40)
    write_store(tmp_path / "store", 3)
    assert len(Store(tmp_path / "store")) == 3
    names = ["clip_index.arrow", "shard-00000.arrow", "shards.json"]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == names


def test_verify_names_the_shard_of_a_flipped_bit(tmp_path):
    write_store(tmp_path / "store")
    path = tmp_path / "store" / store.shard_name(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"shard-00001\.arrow.*dvc"):
        Store(tmp_path / "store").verify()


def test_verify_accepts_an_intact_store(tmp_path):
    write_store(tmp_path / "store")
    Store(tmp_path / "store").verify()


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_truncated_or_missing_shard_is_named_when_read(tmp_path, damage):
    write_store(tmp_path / "store")
    path = tmp_path / "store" / store.shard_name(2)
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-100])
    opened = Store(tmp_path / "store")
    assert opened.clip_id(0, 0) == make_clip(0)[0]
    with pytest.raises(StoreError, match=r"shard-00002\.arrow"):
        opened.audio(2, 0)
    with pytest.raises(StoreError, match=r"shard-00002\.arrow"):
        opened.verify()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_damaged_clip_index_is_named_when_the_store_is_opened(tmp_path, damage):
    write_store(tmp_path / "store")
    path = tmp_path / "store/clip_index.arrow"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        data[:-1] if damage == "truncated" else data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
    )
    if damage == "missing":
        path.unlink()
    with pytest.raises(StoreError, match=r"clip_index\.arrow is (damaged|missing).*dvc"):
        Store(tmp_path / "store")


@pytest.mark.parametrize("frames", [[0] * 40, [0] * 16 + [2] * 16 + [0] * 5, [0, 3, 0] * 11])
def test_clips_may_have_no_frames_or_no_audio(tmp_path, frames):
    clips = [
        (f"{n}", np.arange(n % 3, dtype=np.int16), [b"x" * (n + k) for k in range(c)]) for n, c in enumerate(frames)
    ]
    with StoreWriter(tmp_path / "store", 35) as writer:
        locations = [writer.add(*clip) for clip in clips]
    opened = Store(tmp_path / "store")
    for (_, audio, jpegs), location in zip(clips, locations, strict=True):
        assert np.array_equal(opened.audio(*location) * 32768, audio) and opened.jpegs(*location) == jpegs


def test_clip_index_agrees_with_the_shards(tmp_path):
    """Any Arrow library reads the same content from the shards alone."""
    write_store(tmp_path / "store")
    opened = Store(tmp_path / "store")
    for shard, info in enumerate(opened.shards):
        table = pa.ipc.open_file(tmp_path / "store" / info.name).read_all()
        for row, name in enumerate(table["clip_id"].to_pylist()):
            assert opened.locate(name) == (shard, row) and opened.clip_id(shard, row) == name
            assert opened.jpegs(shard, row) == table["frames"][row].as_py()
            assert (opened.audio(shard, row) * 32768).astype("<i2").tobytes() == table["audio"][row].as_py()


def test_read_touches_only_the_bytes_of_its_clip(tmp_path):
    """A read costs the same in a store of any size: it depends on nothing else in the shard, not even metadata."""
    locations = write_store(tmp_path / "store")
    for n in (0, 17, 25, 39):
        name, audio, jpegs = make_clip(n)
        shard, row = locations[n]
        path = tmp_path / "store" / store.shard_name(shard)
        content = path.read_bytes()
        clip_only = bytearray(b"\xa5" * len(content))
        for data in (audio.tobytes(), b"".join(jpegs)):
            start = content.index(data)
            clip_only[start : start + len(data)] = data
        path.write_bytes(clip_only)
        opened = Store(tmp_path / "store")
        assert opened.locate(name) == (shard, row) and opened.jpegs(shard, row) == jpegs
        assert np.array_equal(opened.audio(shard, row) * 32768, audio)
        path.write_bytes(content)


def test_frame_that_is_no_image_raises_an_error_with_the_row(tmp_path):
    with StoreWriter(tmp_path / "store", 4) as writer:
        writer.add("a", np.zeros(3, np.int16), [b"not a jpeg"])  # as it was written, so no checksum complains
    with pytest.raises(StoreError, match=r"shard-00000\.arrow: row 0"):
        Store(tmp_path / "store").frames(0, 0)


def test_missing_store_invalid_index_and_invalid_location_are_errors(tmp_path):
    with pytest.raises(StoreError, match="dvc repro curate"):
        Store(tmp_path / "missing")
    (tmp_path / "shards.json").write_text("[]")
    (tmp_path / "clip_index.arrow").write_bytes(b"")
    with pytest.raises(StoreError, match="not an index"):
        Store(tmp_path)
    write_store(tmp_path / "store")
    for location in [(9, 0), (2, 4), (0, -1), (-1, 0)]:
        with pytest.raises(StoreError, match="no clip at"):
            Store(tmp_path / "store").audio(*location)
    with pytest.raises(StoreError, match="int16"), StoreWriter(tmp_path / "x", 2) as writer:
        writer.add("a", np.zeros(3), [])


def test_locate_finds_clips_by_id(tmp_path):
    locations = write_store(tmp_path / "store")
    opened = Store(tmp_path / "store")
    assert [opened.locate(make_clip(n)[0]) for n in range(40)] == locations
    with pytest.raises(StoreError, match=r"no clip 'unknown_000001' among its 40"):
        opened.locate("unknown_000001")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_clip_of_a_damaged_shard_is_intact_or_raises_an_error_with_the_shard(tmp_path, position, change):
    folder = tmp_path / "store"
    if not folder.exists():
        write_store(folder, 20, 20)
    path = folder / store.shard_name(0)
    content = path.read_bytes()
    data = bytearray(content)
    data[int(position * len(data))] ^= change
    path.write_bytes(data)
    try:
        opened = Store(folder)
        for n in range(20):
            name, audio, jpegs = make_clip(n)
            try:
                assert np.array_equal(opened.audio(0, n) * 32768, audio) and opened.jpegs(0, n) == jpegs, name
            except StoreError as error:
                assert "shard-00000.arrow" in str(error)
        with pytest.raises(StoreError, match=r"shard-00000\.arrow"):
            opened.verify()
    finally:
        path.write_bytes(content)


def test_command_line_verifies_a_store(tmp_path, capsys):
    write_store(tmp_path / "store")
    __main__.main([str(tmp_path / "store")])
    assert "intact: 40 clips in 3 shards" in capsys.readouterr().out
    (tmp_path / "store" / store.shard_name(1)).write_bytes(b"")
    with pytest.raises(SystemExit, match=r"damaged or missing shard-00001\.arrow"):
        __main__.main([str(tmp_path / "store")])
    with pytest.raises(SystemExit, match="is missing"):
        __main__.main([str(tmp_path / "missing")])


WRITER_SCRIPT = """
import sys, time, numpy as np
from synesthesia.data.store import StoreWriter
with StoreWriter(sys.argv[1], 2) as writer:
    for n in range(5):
        writer.add(f"new{n}", np.zeros(9, np.int16), [b""])
    print("writing", flush=True)
    time.sleep(60)
"""


def start_writer(folder) -> subprocess.Popen:
    """Start another process, and return while it is writing a store."""
    process = subprocess.Popen([sys.executable, "-c", WRITER_SCRIPT, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_second_writer_is_refused_and_killed_writer_does_not_block(tmp_path):
    write_store(tmp_path / "store", 3)
    process = start_writer(tmp_path / "store")
    with (
        pytest.raises(StoreError, match=r"another process is writing .*store: wait for it"),
        StoreWriter(tmp_path / "store", 2),
    ):
        pytest.fail("two writers at once")
    assert process.poll() is None and len(Store(tmp_path / "store")) == 3
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(Store(tmp_path / "store")) == 3  # the old store is intact
    write_store(tmp_path / "store", 7)
    assert len(Store(tmp_path / "store")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.slow
def test_reader_sees_complete_stores_or_none_during_replacement(tmp_path):
    write_store(tmp_path / "store", 4, 2)
    loop = "import sys; sys.path.insert(0, sys.argv[2])\nimport test_store, pathlib\n"
    loop += "for n in range(30): test_store.write_store(pathlib.Path(sys.argv[1]), 4, 2)"
    command = [sys.executable, "-c", loop, str(tmp_path / "store"), os.path.dirname(__file__)]
    process = subprocess.Popen(command)
    num_opened = 0
    while process.poll() is None:
        try:
            opened = Store(tmp_path / "store")
        except StoreError as error:
            assert "is missing" in str(error)
            time.sleep(0.0005)
            continue
        assert [shard.clips for shard in opened.shards] == [2, 2]
        num_opened += 1
    assert process.returncode == 0 and num_opened > 10


def test_failed_write_keeps_the_old_store_and_leaves_no_files(tmp_path):
    write_store(tmp_path / "store", 3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(OSError) as error:
            write_store(tmp_path / "store", 400, 400)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert len(Store(tmp_path / "store")) == 3 and [path.name for path in tmp_path.iterdir()] == ["store"]
