"""The stages curate and make_questions on a small dataset of real MP4 files: outputs, resuming, bad input."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.tools import video_files
from synesthesia import schemas
from synesthesia.data import decode_jobs, media, store
from synesthesia.data.catalogs.manifest import ClipEntry, build_manifest
from synesthesia.pipeline import curate, make_questions, stage_cli
from synesthesia.utils import sandboxed_pool
from tests.helpers import small_dataset
from tests.helpers.small_dataset import hash_outputs, replace_file, write_config

pytestmark = pytest.mark.slow  # real files: seconds per test

dataset, source_files = small_dataset.dataset, small_dataset.source_files


def start_process(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "synesthesia.pipeline.curate", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_outputs_list_usable_and_rejected_clips(dataset, monkeypatch, capfd):
    config = write_config()
    monkeypatch.delenv("SYNESTHESIA_TRACKING")
    curate.run(config, workers=2)
    monkeypatch.setenv("SYNESTHESIA_TRACKING", "off")
    assert Path("mlruns/mlflow.db").exists() and "warning" not in capfd.readouterr().err
    make_questions.run(config)
    rows = schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()
    assert [row["clip_id"] for row in rows] == sorted(row["clip_id"] for row in rows)
    clip_store = store.Store("out/curate/store")
    clip_store.verify()
    assert len(rows) == len(clip_store) == 10 * 5 - 4 + 11
    for row in rows:
        assert clip_store.clip_id(row["shard"], row["row"]) == row["clip_id"]
    assert clip_store.audio(0, 0).shape == (160000,) and clip_store.frames(0, 0).shape == (10, 48, 64, 3)
    labels = {label for row in rows if row["dataset"] == "vggsound" for label in row["labels"]}
    assert "police car" in labels and not any("," in label for label in labels)
    rejected = schemas.read("out/curate/rejected.parquet", schemas.REJECTED).to_pylist()
    assert {(row["file"], row["reason"], row["bytes"] is None) for row in rejected} == {
        ("vggsound/v0-4_000040.mp4", "no audio stream", False),
        ("vggsound/v1-4_000040.mp4", "truncated", False),
        ("vggsound/v2-4_000040.mp4", "empty file", False),
        ("vggsound/v3-4_000040.mp4", "absent", True),
    }
    counts = json.loads(Path("out/curate/counts.json").read_text())
    assert counts["rejected"] == {"absent": 1, "empty file": 1, "no audio stream": 1, "truncated": 1}
    assert counts["vggsound"]["labels_with_multiple_names"] == 1 and counts["vggsound"]["files_not_listed"] == 1
    assert counts["splits"]["test"] == {"files": 9, "usable": 6} and counts["splits"]["unseen"]["usable"] == 11
    questions = schemas.read("out/make_questions/questions.parquet", schemas.QUESTION)
    assert questions["clip_id"].to_pylist() == [row["clip_id"] for row in rows]


def test_missing_file_changes_no_other_clip_or_question(dataset):
    config = write_config()
    curate.run(config, workers=2)
    make_questions.run(config)
    before = schemas.read("out/make_questions/questions.parquet", schemas.QUESTION).to_pylist()
    os.remove("data/vggsound/v5-4_000040.mp4")
    os.remove("data/audioset/clips/a3_30.mp4")
    curate.run(config, workers=2)
    make_questions.run(config)
    after = schemas.read("out/make_questions/questions.parquet", schemas.QUESTION).to_pylist()
    assert after == [row for row in before if row["clip_id"] not in ("v5-4_000040", "a3_000030")]


def test_killed_run_resumes_and_ends_with_the_same_bytes(dataset):
    config = write_config(clips_per_shard=8)
    curate.run(config, workers=2)
    expected = hash_outputs()
    shutil.rmtree("out")
    process = start_process("--workers", "1")
    while process.poll() is None and len(list(Path("out/.partial/curate").glob("*.json"))) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not Path("out/curate/clips.parquet").exists()
    finished_inodes = {path.stat().st_ino for path in Path("out/.partial/curate").glob("*.arrow")}
    assert len(finished_inodes) >= 3
    curate.run(config, workers=2)
    assert hash_outputs() == expected
    assert finished_inodes <= {path.stat().st_ino for path in Path("out/curate/store").iterdir()}


def test_finished_jobs_are_not_reused_for_other_settings_or_files(dataset):
    config = write_config()
    curate.run(config, workers=2)
    items = build_manifest(config).items[:16]
    decode_settings = {key: getattr(config.curate, key) for key in curate.DECODE_PARAMS}
    name = decode_jobs.fingerprint(items, decode_settings)
    assert name != decode_jobs.fingerprint(items, decode_settings | {"jpeg_quality": 50})
    os.utime(items[0].path, (1, 1))
    assert name != decode_jobs.fingerprint(items, decode_settings)


def test_concurrent_run_is_rejected(dataset):
    Path("out/.partial").mkdir(parents=True)
    with open("out/.partial/curate.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(curate.CurateError, match="another curate run uses this folder"):
            curate.run(write_config(), workers=1)


def test_full_disk_is_one_sentence_and_keeps_finished_jobs(dataset, monkeypatch, capsys):
    closed_shards, close = [], store.ShardWriter.close

    def close_until_disk_is_full(shard):
        if len(closed_shards) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(shard.path))
        closed_shards.append(shard)
        return close(shard)

    monkeypatch.setattr(store.ShardWriter, "close", close_until_disk_is_full)
    with pytest.raises(SystemExit) as error:
        stage_cli.main(curate.run, "doc", argv=[])
    assert error.value.code == 1 and "the disk is full" in capsys.readouterr().err
    assert len(list(Path("out/.partial/curate").glob("*.json"))) == 2
    assert not list(Path("out/.partial/curate").glob("*.tmp")) and not Path("out/curate/clips.parquet").exists()


def delete_all_clips():
    for path in Path("data/vggsound").iterdir():
        path.unlink()


def remove_one_label():
    lines = Path("data/vggsound.csv").read_text().splitlines()
    Path("data/vggsound.csv").write_text("\n".join(line for line in lines if "label 3" not in line))


def leave_one_clip_of_a_label():
    lines = Path("data/vggsound.csv").read_text().splitlines()
    remaining = [line for line in lines if '"label 3"' not in line or line.startswith("v3-1")]
    Path("data/vggsound.csv").write_text("\n".join(remaining))


BAD_INPUTS = {
    "data/ is missing": (lambda: shutil.rmtree("data"), "data/vggsound.csv is missing: run `make data`"),
    "an empty list": (lambda: Path("data/vggsound.csv").write_text(""), "data/vggsound.csv lists no clip"),
    "a wrong dialect": (lambda: shutil.copy("data/audioset/eval_segments.csv", "data/vggsound.csv"), "line 2"),
    "no clips' folder": (lambda: shutil.rmtree("data/vggsound"), "data/vggsound is missing"),
    "nothing found": (delete_all_clips, "none of the 50 listed clips of vggsound is in data/vggsound"),
    "nine labels": (remove_one_label, "has 9 usable labels, but a question needs 10"),
    "a label with one clip": (
        leave_one_clip_of_a_label,
        "label 'label 3' has too few train clips in the list: 1 for analysis",
    ),
    "no permission": (lambda: Path("out").touch(), "out"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_sentence_and_exit_code_1(dataset, capsys, name):
    damage, sentence = BAD_INPUTS[name]
    damage()
    with pytest.raises(SystemExit) as error:
        stage_cli.main(curate.run, "doc", argv=[])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.value.code == 1 and message.startswith("curate: ") and sentence in message


def test_label_without_usable_clips_stops_the_stage_and_keeps_finished_jobs(dataset, source_files):
    for take in range(4):
        replace_file(f"data/vggsound/v2-{take}_{10 * take:06d}.mp4", source_files["no_audio"])
    process = start_process()
    message = process.communicate()[1]
    assert process.returncode == 1 and "Traceback" not in message and "Warning" not in message
    assert "label 'label 2' has too few train clips that are usable: 0 for analysis" in message
    assert len(list(Path("out/.partial/curate").glob("*.json"))) == 4


def test_conflicting_and_duplicate_rows_are_counted_and_rejected(dataset):
    with open("data/vggsound.csv", "a") as file:
        file.write('\nv4-0,0,"label 5",train\nv6-0,0,"label 6",train\n')
    manifest = build_manifest(write_config())
    assert manifest.counts["vggsound"]["conflicting"] == 1 and manifest.counts["vggsound"]["duplicate_rows"] == 2
    (row,) = (row for row in manifest.rejected if row["reason"] == "conflicting labels")
    assert row["clip_id"] == "v4-0_000000" and row["detail"] == "listed as 'label 4' and 'label 5'"
    assert "v4-0_000000" not in [item.clip_id for item in manifest.items]


def rename_files(pattern: str, keep: int) -> None:
    """Rename all files of VGGSound but `keep`."""
    for number, path in enumerate(sorted(Path("data/vggsound").iterdir())[keep:]):
        path.rename(path.with_name(pattern.format(number)))


def test_folder_whose_names_fit_no_clip_is_refused_with_three_examples_of_each(dataset, capsys):
    rename_files("clip-{:03d}.mp4", keep=10)
    with pytest.raises(SystemExit) as error:
        stage_cli.main(curate.run, "doc", argv=[])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.value.code == 1 and "fit no clip of vggsound's list" in message
    assert "clip-000.mp4, clip-001.mp4, clip-002.mp4; " in message and "clip-003" not in message
    assert re.search(r"have no file, such as v\d-\d_\d{6}, v\d-\d_\d{6}, v\d-\d_\d{6}: rename", message)


def test_folder_without_any_fitting_name_shows_three_of_each(dataset, capsys):
    rename_files("clip-{:03d}.mp4", keep=0)
    with pytest.raises(SystemExit):
        stage_cli.main(curate.run, "doc", argv=[])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "none of the 50 listed clips" in message and message.count("clip-0") == 3 and message.count("_0000") == 3


def test_folder_with_many_files_of_other_clips_is_accepted(dataset):
    for number in range(200):
        Path(f"data/vggsound/other{number}_000000.mp4").touch()
    manifest = build_manifest(write_config())
    assert manifest.counts["vggsound"]["files_not_listed"] == 201 and len(manifest.items) == 60


def test_the_usable_one_of_several_files_is_found(dataset, source_files):
    replace_file("data/vggsound/v0-0_000000.mp4", source_files["no_audio"])
    os.link(source_files["intact"], "data/vggsound/v0-0_000000.mkv")
    os.remove("data/vggsound/v1-0_000000.mp4")
    os.mkdir("data/vggsound/v1-0")
    for name, kind in (("f137.mp4", "no_audio"), ("f140.m4a", "truncated"), ("mp4", "intact")):
        os.link(source_files[kind], f"data/vggsound/v1-0/v1-0.{name}")
    os.link(source_files["truncated"], "data/vggsound/v0-4_000040.webm")  # beside one without sound
    curate.run(write_config(), workers=2)
    clips = schemas.read("out/curate/clips.parquet", schemas.CLIP)["clip_id"].to_pylist()
    assert "v0-0_000000" in clips and "v1-0_000000" in clips and "v0-4_000040" not in clips
    rejected = schemas.read("out/curate/rejected.parquet", schemas.REJECTED).to_pylist()
    assert [(row["file"], row["reason"]) for row in rejected if row["clip_id"] == "v0-4_000040"] == [
        ("vggsound/v0-4_000040.mp4", "no audio stream")
    ]


def test_a_changed_alternative_is_decoded_anew(dataset, source_files):
    os.link(source_files["intact"], "data/vggsound/v0-0_000000.mkv")
    items = build_manifest(write_config()).items
    before = decode_jobs.fingerprint(items, {})
    replace_file("data/vggsound/v0-0_000000.mkv", source_files["empty"])
    assert decode_jobs.fingerprint(items, {}) != before


def crash_on_mp4(path: str, **_: object) -> media.DecodedClip:
    """Decode nothing: end the process, by another signal in each run."""
    if path.endswith(".mp4"):
        os.kill(os.getpid(), signal.SIGABRT if time.monotonic_ns() % 2 else signal.SIGSEGV)
    return media.DecodedClip(np.ones(4, np.int16), [b"jpeg"], (2, 2))


def test_a_crash_is_a_reason_the_same_in_each_run_and_other_files_are_tried(tmp_path):
    entry = ClipEntry("a_000000", "a", "vggsound", ("dog",), "test", "a.mp4", "a.mp4")
    entries = [entry] * 6 + [entry._replace(alternatives=("b.mp4", "b.mkv"))]
    *crashes, found = decode_jobs.decode_clips(entries, {}, 2, crash_on_mp4)
    assert isinstance(found, media.DecodedClip)
    assert set(crashes) == {sandboxed_pool.WorkerFailure("the worker died (crash)")}


def test_muted_clips_are_kept_and_counted(dataset, capfd):
    muted = video_files.write_clip("muted.mov", size=(64, 48), fps=3, sample_rate=8000, audio="pcm_s16le")
    data = bytearray(muted.read_bytes())
    with av.open(str(muted)) as container:
        for packet in container.demux(audio=0):
            if packet.size and packet.pos is not None:
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    muted.write_bytes(data)
    for take in (0, 1):
        replace_file(f"data/vggsound/v4-{take}_{10 * take:06d}.mp4", muted)
    curate.run(write_config(), workers=2)
    counts = json.loads(Path("out/curate/counts.json").read_text())
    assert counts["muted_clips"] == 2 and counts["clips"] == 10 * 5 - 4 + 11
    assert "the sound of 2 usable clips is all zero" in capfd.readouterr().err


def test_labels_that_read_alike_are_one_sentence(dataset, capsys):
    lines = Path("data/vggsound.csv").read_text().replace('v3-0,0,"label 3"', 'v3-0,0,"Label  3"')
    Path("data/vggsound.csv").write_text(lines)
    with pytest.raises(SystemExit) as error:
        stage_cli.main(curate.run, "doc", argv=[])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.value.code == 1 and "the labels 'Label  3' and 'label 3' read alike" in message


def test_display_name_of_an_unlisted_label_is_one_sentence(dataset, capsys):
    write_config(display_names={"Police car": "police car"})
    with pytest.raises(SystemExit) as error:
        stage_cli.main(curate.run, "doc", argv=[])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.value.code == 1 and "curate.display_names" in message and "'police car (siren)'" in message


def test_make_questions_says_what_to_run_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_config()
    with pytest.raises(SystemExit):
        stage_cli.main(make_questions.run, "doc", argv=[])
    assert "out/curate/clips.parquet is missing" in capsys.readouterr().err


def test_programming_errors_keep_their_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config()

    def raise_error(config):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        stage_cli.main(raise_error, "doc", argv=[])


def test_item_name_is_passed_to_the_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config()
    items = []
    stage_cli.main(lambda config, item: items.append(item), "doc", item_kind="model", argv=["qwen2-vl"])
    assert items == ["qwen2-vl"]
