"""Generated dataset: lists, corrupted files, resumption after a kill, and error messages."""

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

pytestmark = pytest.mark.slow  # renders clips: seconds per test

TINY_COUNTS = ClipCounts(train=2, test=1, multi_name=2, audioset=2, labels_per_group=1, corrupt_fraction=0.3)


def hash_folder(folder: Path) -> str:
    """Hash the names and contents of all files in the folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset")
    generate.generate(out, 0, TINY_COUNTS, quiet=True)
    return out


def test_vggsound_csv_round_trips_through_the_csv_module():
    clips = manifest.vggsound_clips(0, ClipCounts())
    text = manifest.vggsound_csv(clips)
    rows = list(csv.reader(io.StringIO(text)))
    assert all(len(row) == 4 and len(row[0]) == 11 and row[3] in ("train", "test") for row in rows)
    expected = [(c.video_id, str(c.start_seconds), c.labels[0], c.split) for c in clips for _ in range(c.n_listings)]
    assert list(map(tuple, rows)) == expected
    assert '"race car, auto racing"' in text and '"dog barking"' not in text


def test_test_split_is_balanced_and_train_split_is_not():
    clips = manifest.vggsound_clips(0, ClipCounts())
    main_labels = {c.name for c in MAIN_CLASSES}
    test = Counter(c.labels[0] for c in clips if c.split == "test" and c.labels[0] in main_labels)
    train = Counter(c.labels[0] for c in clips if c.split == "train" and c.labels[0] in main_labels)
    assert set(test.values()) == {16} and set(test) == set(train) == main_labels
    assert max(train.values()) > 1.3 * min(train.values())
    assert all(0.69 * 44 <= n <= 1.31 * 44 for n in train.values())


def test_clips_of_one_video_share_the_split_and_differ_in_start():
    clips = manifest.vggsound_clips(0, ClipCounts())
    assert len({c.clip_id for c in clips}) == len(clips)
    videos = {}
    for c in clips:
        videos.setdefault(c.video_id, []).append(c)
    multi_clip_videos = [v for v in videos.values() if len(v) > 1]
    assert 0.02 < len(multi_clip_videos) / len(videos) < 0.09
    assert all(len(v) == 2 and len({c.split for c in v}) == 1 for v in multi_clip_videos)
    assert all(v[0].start_seconds != v[1].start_seconds for v in multi_clip_videos)


def test_two_percent_of_clips_are_corrupt_and_every_corruption_occurs():
    clips = manifest.vggsound_clips(0, ClipCounts())
    corrupt = Counter(c.corruption for c in clips if c.corruption)
    assert set(corrupt) == set(manifest.CORRUPTIONS)
    assert 0.01 < sum(corrupt.values()) / len(clips) < 0.035
    assert [
        sum(not c.has_file for c in clips),
        sum(c.n_listings == 2 for c in clips),
        sum(c.n_listings == 0 for c in clips),
    ] == [1] * 3


def test_larger_dataset_contains_the_clips_of_a_smaller_one():
    small = manifest.vggsound_clips(0, ClipCounts(train=20, test=4))
    large = {c.clip_id: c for c in manifest.vggsound_clips(0, ClipCounts(train=40, test=8))}
    assert all((large[c.clip_id].labels, large[c.clip_id].corruption) == (c.labels, c.corruption) for c in small)
    assert not {c.clip_id for c in small} & {
        c.clip_id for c in manifest.vggsound_clips(1, ClipCounts(train=20, test=4))
    }


def test_audioset_csv_has_the_published_format():
    clips = manifest.audioset_clips(0, ClipCounts())
    lines = manifest.audioset_csv(clips).splitlines()
    assert lines[2] == "# YTID, start_seconds, end_seconds, positive_labels" and all(
        line.startswith("# ") for line in lines[:3]
    )
    rows = list(csv.reader(lines[3:], skipinitialspace=True))
    names = {r["mid"]: r["display_name"] for r in csv.DictReader(io.StringIO(manifest.class_labels_csv()))}
    for row, clip in zip(rows, clips, strict=True):
        assert row[0] == clip.video_id and float(row[2]) - float(row[1]) == 10
        assert tuple(names[mid] for mid in row[3].split(",")) == clip.labels
    assert len(names) == len(AUDIOSET_ROWS)
    assert {len(c.labels) for c in clips} == {1, 2, 3}
    assert sum(c.class_name in {m.name for m in MAIN_CLASSES} for c in clips) < 0.35 * len(clips)


@pytest.mark.parametrize("corruption", manifest.CORRUPTIONS)
def test_corrupt_files_have_the_named_corruption(corruption):
    data = generate.clip_bytes(
        ClipSpec("vggsound", "x" * 11, 0, ("owl hooting",), "train", "owl hooting", corruption=corruption), 0
    )
    if corruption == "empty":
        assert data == b""
    elif corruption in ("image", "text"):
        assert data.startswith((b"\x89PNG", b"<html"))
    elif corruption == "truncated":
        with pytest.raises(av.FFmpegError), av.open(io.BytesIO(data)) as container:
            list(container.decode(video=0))
    else:
        with av.open(io.BytesIO(data)) as container:
            assert len(container.streams.audio) == (corruption != "no audio")
            assert len(container.streams.video) == (corruption != "no video")
            assert container.duration / 1e6 == pytest.approx(3 if corruption == "too short" else 10, abs=0.3)


def test_folder_matches_the_list_except_one_missing_and_one_unlisted_file(dataset):
    rows = [(r[0], int(r[1])) for r in csv.reader((dataset / "vggsound.csv").open())]
    files = {p.name for p in (dataset / "vggsound").iterdir()}
    listed = {f"{video_id}_{start:06d}.mp4" for video_id, start in rows}
    assert len(listed - files) == 1 and len(files - listed) == 1 and len(rows) == len(listed) + 1
    assert "synthetic" in (dataset / "README.md").read_text() and "seed 0" in (dataset / "README.md").read_text()
    assert not list(dataset.rglob("*.tmp"))


def test_metadata_and_readme_use_keys_of_format_version_1(dataset):
    counts = {"train": 2, "test": 1, "several": 2, "audioset": 2, "labels": 1, "damaged": 0.3}
    metadata = json.loads((dataset / generate.METADATA_FILE).read_text())
    assert metadata == {"seed": 0, "counts": counts, "version": 1}
    assert json.dumps(counts) in (dataset / "README.md").read_text()


def generate_dataset(out: str) -> None:
    generate.generate(Path(out), 0, TINY_COUNTS, quiet=True)


def test_killed_run_resumes_to_identical_folder(dataset, tmp_path):
    process = multiprocessing.get_context("fork").Process(target=generate_dataset, args=(str(tmp_path),))
    process.start()
    while process.is_alive() and len(list(tmp_path.glob("vggsound/*.mp4"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (tmp_path / "vggsound.csv").exists()
    finished_files = {p: p.stat().st_mtime_ns for p in tmp_path.glob("vggsound/*.mp4")}
    (tmp_path / "vggsound" / "half.mp4.host-1.tmp").write_bytes(b"half")
    generate.generate(tmp_path, 0, TINY_COUNTS, quiet=True)
    assert hash_folder(tmp_path) == hash_folder(dataset)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in finished_files.items())


def test_folder_with_dataset_of_another_seed_is_rejected(dataset):
    before = hash_folder(dataset)
    with pytest.raises(generate.SyntheticDataError, match=r"already holds another dataset.*Choose another --out"):
        generate.generate(dataset, 1, TINY_COUNTS, quiet=True)
    assert hash_folder(dataset) == before


def test_folder_with_foreign_clips_is_rejected(tmp_path):
    (tmp_path / "vggsound").mkdir()
    (tmp_path / "vggsound" / "other.mp4").write_bytes(b"other")
    with pytest.raises(generate.SyntheticDataError, match="not generated by this command"):
        generate.generate(tmp_path, 0, TINY_COUNTS, quiet=True)


def test_unreadable_metadata_is_rejected(tmp_path):
    (tmp_path / generate.METADATA_FILE).write_text("{")
    with pytest.raises(generate.SyntheticDataError, match=r"unreadable world\.json"):
        generate.generate(tmp_path, 0, TINY_COUNTS, quiet=True)


def test_unwritable_folder_is_rejected(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert generate.main(["--out", str(tmp_path / "file"), "--labels-per-group", "1"]) == 2
    assert "Choose a writable folder" in capsys.readouterr().err


def test_full_disk_raises_actionable_error(tmp_path, monkeypatch):
    write_atomic = generate.write_atomic

    def write_to_full_disk(path, content):
        if path.suffix == ".mp4":
            raise OSError(generate.errno.ENOSPC, os.strerror(generate.errno.ENOSPC))
        write_atomic(path, content)

    monkeypatch.setattr(generate, "write_atomic", write_to_full_disk)
    with pytest.raises(generate.SyntheticDataError, match=r"no space left.*run again"):
        generate.generate(tmp_path, 0, TINY_COUNTS, quiet=True)
    assert json.loads((tmp_path / generate.METADATA_FILE).read_text())["seed"] == 0


@pytest.mark.parametrize(
    "arguments", [["--workers", "0"], ["--train", "-1"], ["--labels-per-group", "11"], ["--corrupt-fraction", "2"]]
)
def test_invalid_arguments_are_rejected(arguments, tmp_path):
    with pytest.raises(SystemExit):
        generate.main(["--out", str(tmp_path), *arguments])


def test_output_is_independent_of_the_number_of_workers(tmp_path):
    counts = ClipCounts(train=1, test=0, multi_name=0, audioset=1, labels_per_group=1, corrupt_fraction=0)
    generate.generate(tmp_path / "one", 0, counts, num_workers=1, quiet=True)
    generate.generate(tmp_path / "two", 0, counts, num_workers=2, quiet=True)
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "two")
