"""Stimuli hold the stored samples and pixels; silent files have no audio."""

import io
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest

from synesthesia.data.store import Store, StoreError
from synesthesia.human_study.stimuli import encode
from synesthesia.schemas import CONDITIONS
from tests.helpers.small_human_study import SAMPLE_RATE

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture(scope="module")
def clip_files(prepared_study):
    """(question, its files' bytes by condition, the store) of a clip of the plan."""
    from synesthesia.human_study.db import connection, stored_plan

    database = connection.Database(f"sqlite:///{prepared_study}/humans/human_study.sqlite")
    question = next(q for q in stored_plan.load_questions(database).values() if q.practice_condition is None)
    database.close()
    names = encode.StimulusNames((prepared_study / "humans/secret").read_bytes())
    folder = prepared_study / "humans/stimuli"
    files = {c: (folder / names.filename(question.clip_id, c)).read_bytes() for c in CONDITIONS}
    return question, files, Store(prepared_study / "out/curate/store")


def stream_types(data):
    with av.open(io.BytesIO(data)) as container:
        return [s.type for s in container.streams]


def decode_audio(data):
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].rate == SAMPLE_RATE
        return np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)])


def decode_video(data):
    with av.open(io.BytesIO(data)) as container:
        return [(float(f.time), f) for f in container.decode(video=0)]


def test_each_condition_has_exactly_its_streams(clip_files):
    _, files, _ = clip_files
    assert {c: stream_types(files[c]) for c in CONDITIONS} == {
        "audio": ["audio"],
        "silent_video": ["video"],
        "sounded_video": ["video", "audio"],
    }


def test_files_with_audio_hold_the_stored_samples_at_16_khz(clip_files):
    question, files, store = clip_files
    stored = np.round(store.audio(question.shard, question.row) * 32768).astype(np.int16)
    for condition in ("audio", "sounded_video"):
        assert np.array_equal(decode_audio(files[condition])[: len(stored)], stored)


def test_videos_have_one_frame_per_second_for_the_complete_clip(clip_files):
    _, files, _ = clip_files
    assert [time for time, _ in decode_video(files["silent_video"])] == [0.0, 1.0, 2.0]
    with av.open(io.BytesIO(files["silent_video"])) as container:
        assert container.duration == 3 * av.time_base


def test_silent_and_sounded_video_have_the_same_pixels(clip_files):
    _, files, _ = clip_files
    silent, sounded = ([f.to_ndarray() for _, f in decode_video(files[c])] for c in ("silent_video", "sounded_video"))
    assert all(np.array_equal(a, b) for a, b in zip(silent, sounded, strict=True))


def test_luma_is_within_40_decibels_of_the_stored_frames(clip_files):
    question, files, store = clip_files
    stored = store.frames(question.shard, question.row)
    weights = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
    for (_, frame), pixels in zip(decode_video(files["silent_video"]), stored, strict=True):
        rgb = frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG").to_ndarray()
        error = ((rgb - pixels.astype(float)) @ weights) ** 2
        assert 10 * np.log10(255**2 / error.mean()) > 40


def test_color_space_and_range_are_declared(clip_files):
    _, files, _ = clip_files
    (_, frame), *_ = decode_video(files["silent_video"])
    assert (frame.colorspace, frame.color_range) == (1, 1)


def test_only_missing_files_are_created(prepared_study, clip_files, tmp_path):
    question, _, store = clip_files
    names = encode.StimulusNames(b"c" * 32)
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 3 + 3 + 6
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 0
    (tmp_path / names.filename(question.clip_id, "audio")).unlink()
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 1
    video = (tmp_path / names.filename(question.clip_id, "sounded_video")).read_bytes()
    assert stream_types(video) == ["video", "audio"]


def test_a_damaged_shard_is_named_and_no_partial_file_remains(prepared_study, clip_files, tmp_path):
    question, _, _ = clip_files
    shutil.copytree(prepared_study / "out/curate/store", tmp_path / "store")
    shard = tmp_path / "store" / f"shard-{question.shard:05d}.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    names, store = encode.StimulusNames(b"c" * 32), Store(tmp_path / "store")
    with pytest.raises(StoreError, match=rf"{shard.name}: .* bytes instead of"):
        encode.make_stimuli(tmp_path / "stimuli", names, store, [question], "flac", 0)
    assert not list((tmp_path / "stimuli").glob("*.tmp"))


def test_a_store_curated_anew_is_refused(prepared_study, clip_files, tmp_path):
    question, _, store = clip_files
    moved = replace(question, row=question.row + 1)
    with pytest.raises(encode.StimulusError, match="another clip at the location of"):
        encode.make_stimuli(tmp_path, encode.StimulusNames(b"c" * 32), store, [moved], "flac", 0)
