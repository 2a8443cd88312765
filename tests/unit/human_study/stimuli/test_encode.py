"""Stimuli: the stored samples and pixels, no sound in silent files."""

import io
import shutil

import av
import numpy as np
import pytest

from synesthesia.data.store import Store, StoreError
from synesthesia.human_study.stimuli import encode
from synesthesia.schemas import CONDITIONS
from tests.helpers.small_human_study import RATE

pytestmark = pytest.mark.slow  # a real server and database


@pytest.fixture(scope="module")
def made(prepared):
    """(question, its files' bytes by condition, the store) of one clip of the plan."""
    from synesthesia.human_study.db import connection, stored_plan

    opened = connection.Database(f"sqlite:///{prepared}/humans/study.sqlite")
    question = next(q for q in stored_plan.load_questions(opened).values() if q.practice_condition is None)
    opened.close()
    names = encode.StimulusNames((prepared / "humans/secret").read_bytes())
    files = {c: (prepared / "humans/stimuli" / names.filename(question.clip_id, c)).read_bytes() for c in CONDITIONS}
    return question, files, Store(prepared / "out/curate/store")


def streams(data):
    with av.open(io.BytesIO(data)) as container:
        return [s.type for s in container.streams]


def sound(data):
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].rate == RATE
        return np.concatenate([f.to_ndarray().ravel() for f in container.decode(audio=0)])


def frames(data):
    with av.open(io.BytesIO(data)) as container:
        return [(float(f.time), f) for f in container.decode(video=0)]


def test_each_condition_has_the_streams_it_should_and_no_other(made):
    _, files, _ = made
    assert {c: streams(files[c]) for c in CONDITIONS} == {
        "audio": ["audio"],
        "silent_video": ["video"],
        "sounded_video": ["video", "audio"],
    }


def test_every_sample_is_the_stored_one_at_16_khz_in_both_files_with_sound(made):
    question, files, store = made
    stored = np.round(store.audio(question.shard, question.row) * 32768).astype(np.int16)
    for condition in ("audio", "sounded_video"):
        assert np.array_equal(sound(files[condition])[: len(stored)], stored)


def test_pictures_come_once_a_second_for_the_whole_clip(made):
    _, files, _ = made
    assert [time for time, _ in frames(files["silent_video"])] == [0.0, 1.0, 2.0]
    with av.open(io.BytesIO(files["silent_video"])) as container:
        assert container.duration == 3 * av.time_base


def test_silent_and_sounded_video_have_the_same_pixels(made):
    _, files, _ = made
    silent, sounded = ([f.to_ndarray() for _, f in frames(files[c])] for c in ("silent_video", "sounded_video"))
    assert all(np.array_equal(a, b) for a, b in zip(silent, sounded, strict=True))


def test_brightness_is_within_40_decibels_of_the_stored_pictures(made):
    question, files, store = made
    stored = store.frames(question.shard, question.row)
    weights = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
    for (_, frame), picture in zip(frames(files["silent_video"]), stored, strict=True):
        rgb = frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG").to_ndarray()
        error = ((rgb - picture.astype(float)) @ weights) ** 2
        assert 10 * np.log10(255**2 / error.mean()) > 40


def test_colours_are_declared_so_that_no_browser_guesses(made):
    _, files, _ = made
    (_, frame), *_ = frames(files["silent_video"])
    assert (frame.colorspace, frame.color_range) == (1, 1)


def test_what_is_there_is_not_made_again_and_what_is_lost_is(prepared, made, tmp_path):
    question, _, store = made
    names = encode.StimulusNames(b"c" * 32)
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 3 + 3 + 6
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 0
    (tmp_path / names.filename(question.clip_id, "audio")).unlink()
    assert encode.make_stimuli(tmp_path, names, store, [question], "aac", 0) == 1
    assert streams((tmp_path / names.filename(question.clip_id, "sounded_video")).read_bytes()) == ["video", "audio"]


def test_a_damaged_shard_is_named_and_nothing_half_made_stays(prepared, made, tmp_path):
    question, _, _ = made
    shutil.copytree(prepared / "out/curate/store", tmp_path / "store")
    shard = tmp_path / "store" / f"shard-{question.shard:05d}.arrow"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StoreError, match=rf"{shard.name}: .* bytes instead of"):
        encode.make_stimuli(
            tmp_path / "made", encode.StimulusNames(b"c" * 32), Store(tmp_path / "store"), [question], "flac", 0
        )
    assert not list((tmp_path / "made").glob("*.tmp"))


def test_a_store_that_was_curated_anew_is_refused(prepared, made, tmp_path):
    from dataclasses import replace

    question, _, store = made
    moved = replace(question, row=question.row + 1)
    with pytest.raises(encode.StimulusError, match="another clip in the place of"):
        encode.make_stimuli(tmp_path, encode.StimulusNames(b"c" * 32), store, [moved], "flac", 0)
