"""A clip's sound, picture and file."""

import io
import math
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from synesthesia.synthetic import clips
from synesthesia.synthetic.audio import draw_beats, synthesize
from synesthesia.synthetic.images import make_scene
from synesthesia.synthetic.labels import SOUND_CLASSES

pytestmark = pytest.mark.slow  # real files and figures: seconds each

PLAIN = {"intruder": None, "cover": None, "away": None}


def small(kind="dog barking", **changes):
    """A recipe that is quick to encode."""
    usual = {"size": (128, 96), "fps": Fraction(5), "drawn": 4.0, "rate": 16000, "channels": 1}
    return replace(clips.draw_recipe("aaaaaaaaaaa_000010", kind, 0), **(usual | changes))


@pytest.mark.parametrize("kind", SOUND_CLASSES)
def test_every_kind_sounds(kind):
    x = synthesize(kind, np.random.default_rng(0), 4.0, 16000)
    assert x.shape == (64000,) and x.dtype == np.float32
    assert np.isfinite(x).all() and np.abs(x).max() <= 1
    assert x.std() > 1e-3


@pytest.mark.parametrize("kind", SOUND_CLASSES)
def test_every_kind_shows_a_moving_picture(kind):
    shown = make_scene(np.random.default_rng(3), kind, (112, 84))
    first, *others = [shown.render(t) for t in np.linspace(0.5, 9.5, 7)]
    assert first.shape == (84, 112, 3) and first.dtype == np.uint8
    assert first.std() > 3
    assert max(np.abs(frame.astype(int) - first).mean() for frame in others) > 0.05


def test_two_clips_of_a_kind_differ():
    a, b = (
        clips.render_model_inputs(clips.draw_recipe(f"{name}_000000", "owl hooting", 0))
        for name in ("a" * 11, "b" * 11)
    )
    assert not np.array_equal(a[0], b[0]) and not np.array_equal(a[1], b[1])


def test_the_events_of_a_clip_lie_within_it_and_ascend():
    for kind in SOUND_CLASSES:
        times = draw_beats(kind, np.random.default_rng(5))
        assert len(times) >= 2 and times[0] >= 0 and (np.diff(times) > 0).all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    recipe = small()
    assert clips.encode_mp4(recipe) == clips.encode_mp4(recipe)
    assert clips.encode_mp4(recipe) != clips.encode_mp4(replace(recipe, seed=1))


def test_a_clip_does_not_depend_on_those_made_before_it():
    alone = clips.encode_mp4(small("thunder"))
    clips.render_model_inputs(clips.draw_recipe("bbbbbbbbbbb_000000", "playing piano", 0))
    np.random.seed(1)
    assert clips.encode_mp4(small("thunder")) == alone


@pytest.mark.parametrize(
    "changes",
    [{}, {"rate": 22050, "channels": 2}, {"fps": Fraction(30000, 1001), "drawn": 8.0, "size": (90, 160)}],
    ids=["usual", "stereo", "portrait"],
)
def test_a_file_decodes_to_ten_seconds_of_h264_and_aac(changes):
    recipe = small(**changes)
    with av.open(io.BytesIO(clips.encode_mp4(recipe))) as box:
        (video,), (audio,) = box.streams.video, box.streams.audio
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (audio.rate, audio.channels) == (recipe.sample_rate, recipe.channels)
        frames, samples = [], 0
        for packet in box.demux(video, audio):
            for got in packet.decode():
                if isinstance(got, av.VideoFrame):
                    frames.append(got)
                else:
                    samples += got.samples
    assert len(frames) == math.ceil(10 * recipe.fps)
    assert (frames[0].width, frames[0].height) == recipe.frame_size
    assert 2 <= sum(f.key_frame for f in frames) <= 6
    assert samples / recipe.sample_rate == pytest.approx(10, abs=0.1)


def test_the_percept_is_what_the_file_holds():
    recipe = small("dog barking", **PLAIN)
    heard, seen = clips.render_model_inputs(recipe)
    assert heard.shape == (160000,) and heard.dtype == np.float32
    assert seen.shape == (10, 96, 128, 3) and seen.dtype == np.uint8
    x, rate, frames, fps = clips.render_clip(recipe)
    assert rate == 16000 and np.array_equal(x[0], heard)
    for k, picture in enumerate(seen):
        assert np.array_equal(frames[int((k + 0.5) * fps)], picture)
    with av.open(io.BytesIO(clips.encode_mp4(recipe))) as box:
        decoded = [f.to_ndarray(format="rgb24").astype(int) for f in box.decode(video=0)]
    for k, picture in enumerate(seen):
        assert np.abs(decoded[int((k + 0.5) * fps)] - picture).mean() < 8


def test_stereo_files_average_to_the_mono_sound():
    recipe = small(channels=2, pan=0.5, **PLAIN)
    x, *_ = clips.render_clip(recipe)
    assert x.shape == (2, 160000)
    loud = np.abs(x).max(0) < 1
    assert np.allclose(x.mean(0)[loud], clips.render_audio(recipe)[loud], atol=1e-6)


def test_a_second_kind_takes_over_at_the_cut():
    both = small("playing piano", second="Duck", cut=5.0, **PLAIN)
    one = replace(both, second=None, cut=10.0)
    assert np.array_equal(clips.render_model_inputs(both)[1][:4], clips.render_model_inputs(one)[1][:4])
    assert not np.array_equal(clips.render_model_inputs(both)[1][6], clips.render_model_inputs(one)[1][6])


def test_disturbances_show():
    usual = small(**PLAIN)
    heard, seen = clips.render_model_inputs(usual)
    assert not np.array_equal(clips.render_audio(replace(usual, intruder="thunder", intruder_level=12.0)), heard)
    covered = clips.render_model_inputs(replace(usual, cover=(2.0, 5.0, 0.3, 0.35)))[1]
    assert np.array_equal(covered[0], seen[0]) and not np.array_equal(covered[3], seen[3])
    away = clips.render_model_inputs(replace(usual, away=(2.0, 5.0, 1.2)))[1]
    assert np.array_equal(away[9], seen[9]) and not np.array_equal(away[3], seen[3])
    dark = clips.render_model_inputs(replace(usual, light=(0.5, 0.5)))[1]
    assert dark.mean() < 0.8 * seen.mean()


def test_recipes_mix_sizes_rates_and_disturbances():
    many = [clips.draw_recipe(f"{k:011d}_000000", "helicopter", 0) for k in range(400)]
    assert len({r.frame_size for r in many}) == len(clips.FRAME_SIZES)
    assert {r.sample_rate for r in many} == set(clips.SAMPLE_RATES) and {r.channels for r in many} == {1, 2}
    assert {r.fps for r in many} == set(clips.FRAME_RATES)
    assert all(w % 2 == 0 and h % 2 == 0 for w, h in clips.FRAME_SIZES)
    for part in ("intruder", "cover", "away"):
        assert 0.01 < np.mean([getattr(r, part) is not None for r in many]) < 0.16
    assert all(r.background_class != r.class_name for r in many)
