"""The world's folder: lists, damage, going on after a kill, errors that say what to do."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

import av
import pytest

from synesthesia.synthetic import generate, manifest
from synesthesia.synthetic.labels import AUDIOSET_ROWS, MAIN_CLASSES
from synesthesia.synthetic.manifest import ClipCounts, ClipSpec

pytestmark = pytest.mark.slow  # real files and figures: seconds each

TINY = ClipCounts(train=2, test=1, multi_name=2, audioset=2, labels_per_group=1, corrupt_fraction=0.3)


def digest(folder: Path) -> str:
    """One hash of all names and bytes below the folder."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    generate.generate(out, 0, TINY, quiet=True)
    return out


def test_vggsounds_list_goes_through_the_csv_module_and_back():
    clips = manifest.vggsound_clips(0, ClipCounts())
    text = manifest.vggsound_csv(clips)
    rows = list(csv.reader(io.StringIO(text)))
    assert all(len(row) == 4 and len(row[0]) == 11 and row[3] in ("train", "test") for row in rows)
    expected = [(c.video_id, str(c.start_seconds), c.labels[0], c.split) for c in clips for _ in range(c.n_listings)]
    assert list(map(tuple, rows)) == expected
    assert '"race car, auto racing"' in text and '"dog barking"' not in text


def test_test_is_balanced_and_train_is_not():
    rows = manifest.vggsound_clips(0, ClipCounts())
    main = {k.name for k in MAIN_CLASSES}
    test = Counter(c.labels[0] for c in rows if c.split == "test" and c.labels[0] in main)
    train = Counter(c.labels[0] for c in rows if c.split == "train" and c.labels[0] in main)
    assert set(test.values()) == {16} and set(test) == set(train) == main
    assert max(train.values()) > 1.3 * min(train.values())
    assert all(0.69 * 44 <= n <= 1.31 * 44 for n in train.values())


def test_some_videos_have_two_clips_of_the_same_split_and_other_starts():
    rows = manifest.vggsound_clips(0, ClipCounts())
    assert len({c.clip_id for c in rows}) == len(rows)
    videos = {}
    for c in rows:
        videos.setdefault(c.video_id, []).append(c)
    double = [v for v in videos.values() if len(v) > 1]
    assert 0.02 < len(double) / len(videos) < 0.09
    assert all(len(v) == 2 and len({c.split for c in v}) == 1 and v[0].start != v[1].start for v in double)


def test_every_kind_of_damage_is_there_in_about_two_percent():
    rows = manifest.vggsound_clips(0, ClipCounts())
    wrong = Counter(c.corruption for c in rows if c.corruption)
    assert set(wrong) == set(manifest.CORRUPTIONS)
    assert 0.01 < sum(wrong.values()) / len(rows) < 0.035
    assert [
        sum(not c.has_file for c in rows),
        sum(c.n_listings == 2 for c in rows),
        sum(c.n_listings == 0 for c in rows),
    ] == [1] * 3


def test_a_larger_world_contains_the_smaller_ones_clips():
    small = manifest.vggsound_clips(0, ClipCounts(train=20, test=4))
    large = {c.clip_id: c for c in manifest.vggsound_clips(0, ClipCounts(train=40, test=8))}
    assert all((large[c.clip_id].labels, large[c.clip_id].corruption) == (c.labels, c.corruption) for c in small)
    assert not {c.clip_id for c in small} & {
        c.clip_id for c in manifest.vggsound_clips(1, ClipCounts(train=20, test=4))
    }


def test_audiosets_list_has_its_dialect():
    clips = manifest.audioset_clips(0, ClipCounts())
    lines = manifest.audioset_csv(clips).splitlines()
    assert lines[2] == "# YTID, start_seconds, end_seconds, positive_labels" and all(
        x.startswith("# ") for x in lines[:3]
    )
    rows = list(csv.reader(lines[3:], skipinitialspace=True))
    names = {r["mid"]: r["display_name"] for r in csv.DictReader(io.StringIO(manifest.class_labels_csv()))}
    for row, clip in zip(rows, clips, strict=True):
        assert row[0] == clip.video_id and float(row[2]) - float(row[1]) == 10
        assert tuple(names[mid] for mid in row[3].split(",")) == clip.labels
    assert len(names) == len(AUDIOSET_ROWS)
    assert {len(c.labels) for c in clips} == {1, 2, 3}
    assert sum(c.class_name in {k.name for k in MAIN_CLASSES} for c in clips) < 0.35 * len(clips)


@pytest.mark.parametrize("damage", manifest.CORRUPTIONS)
def test_damaged_files_are_damaged_as_said(damage):
    data = generate.clip_bytes(
        ClipSpec("vggsound", "x" * 11, 0, ("owl hooting",), "train", "owl hooting", corruption=damage), 0
    )
    if damage == "empty":
        assert data == b""
    elif damage in ("an image", "a text"):
        assert data.startswith((b"\x89PNG", b"<html"))
    elif damage == "truncated":
        with pytest.raises(av.FFmpegError), av.open(io.BytesIO(data)) as box:
            list(box.decode(video=0))
    else:
        with av.open(io.BytesIO(data)) as box:
            assert len(box.streams.audio) == (damage != "no sound")
            assert len(box.streams.video) == (damage != "no picture")
            assert box.duration / 1e6 == pytest.approx(3 if damage == "too short" else 10, abs=0.3)


def test_the_folder_holds_what_the_lists_name_but_for_the_absent_and_the_unlisted(world):
    listed = [(r[0], int(r[1])) for r in csv.reader((world / "vggsound.csv").open())]
    there = {p.name for p in (world / "vggsound").iterdir()}
    named = {f"{video}_{start:06d}.mp4" for video, start in listed}
    assert len(named - there) == 1 and len(there - named) == 1 and len(listed) == len(named) + 1
    assert "synthetic" in (world / "README.md").read_text() and "seed 0" in (world / "README.md").read_text()
    assert not list(world.rglob("*.part"))


def _run(out: str) -> None:
    generate.generate(Path(out), 0, TINY, quiet=True)


def test_a_killed_run_goes_on_to_the_same_folder(world, tmp_path):
    run = multiprocessing.get_context("fork").Process(target=_run, args=(str(tmp_path),))
    run.start()
    while run.is_alive() and len(list(tmp_path.glob("vggsound/*.mp4"))) < 2:
        time.sleep(0.01)
    run.kill()
    run.join()
    assert not (tmp_path / "vggsound.csv").exists()
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("vggsound/*.mp4")}
    (tmp_path / "vggsound" / ".half.mp4.part").write_bytes(b"half")
    generate.generate(tmp_path, 0, TINY, quiet=True)
    assert digest(tmp_path) == digest(world)
    assert all(p.stat().st_mtime_ns == when for p, when in kept.items())


def test_another_seed_in_the_same_folder_is_refused_with_a_way_out(world):
    before = digest(world)
    with pytest.raises(generate.SyntheticDataError, match=r"already holds another world.*Choose another --out"):
        generate.generate(world, 1, TINY, quiet=True)
    assert digest(world) == before


def test_a_folder_with_foreign_clips_is_left_alone(tmp_path):
    (tmp_path / "vggsound").mkdir()
    (tmp_path / "vggsound" / "mine.mp4").write_bytes(b"mine")
    with pytest.raises(generate.SyntheticDataError, match="not made here"):
        generate.generate(tmp_path, 0, TINY, quiet=True)


def test_an_unreadable_mark_is_an_error_that_names_it(tmp_path):
    (tmp_path / generate.METADATA_FILE).write_text("{")
    with pytest.raises(generate.SyntheticDataError, match=r"unreadable world\.json"):
        generate.generate(tmp_path, 0, TINY, quiet=True)


def test_a_place_that_cannot_be_written_is_an_error_with_advice(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert generate.main(["--out", str(tmp_path / "file"), "--labels", "1"]) == 2
    assert "Choose a folder that you may write to" in capsys.readouterr().err


def test_a_full_disk_is_an_error_with_advice(tmp_path, monkeypatch):
    real = generate._write_atomic

    def full(path, data):
        if path.suffix == ".mp4":
            raise OSError(generate.errno.ENOSPC, os.strerror(generate.errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(generate, "_write", full)
    with pytest.raises(generate.SyntheticDataError, match=r"no space left.*run again"):
        generate.generate(tmp_path, 0, TINY, quiet=True)
    assert json.loads((tmp_path / generate.METADATA_FILE).read_text())["seed"] == 0


@pytest.mark.parametrize("wrong", [["--workers", "0"], ["--train", "-1"], ["--labels", "11"], ["--damaged", "2"]])
def test_impossible_arguments_are_refused(wrong, tmp_path):
    with pytest.raises(SystemExit):
        generate.main(["--out", str(tmp_path), *wrong])


def test_several_workers_make_the_same_world(tmp_path):
    few = ClipCounts(train=1, test=0, multi_name=0, audioset=1, labels_per_group=1, corrupt_fraction=0)
    generate.generate(tmp_path / "one", 0, few, workers=1, quiet=True)
    generate.generate(tmp_path / "two", 0, few, workers=2, quiet=True)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
