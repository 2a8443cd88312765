"""Synthetic clips: audio, frames, encoded files, and recipes."""

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

pytestmark = pytest.mark.slow  # renders clips: seconds per test

NO_DISTURBANCES = {"background_class": None, "occlusion": None, "off_screen": None}


def make_small_recipe(class_name="dog barking", **changes):
    """Draw a recipe that is fast to encode."""
    small_format = {
        "frame_size": (128, 96),
        "fps": Fraction(5),
        "animation_fps": 4.0,
        "sample_rate": 16000,
        "channels": 1,
    }
    return replace(clips.draw_recipe("aaaaaaaaaaa_000010", class_name, 0), **(small_format | changes))


@pytest.mark.parametrize("class_name", SOUND_CLASSES)
def test_audio_is_finite_and_not_silent(class_name):
    x = synthesize(class_name, np.random.default_rng(0), 4.0, 16000)
    assert x.shape == (64000,) and x.dtype == np.float32
    assert np.isfinite(x).all() and np.abs(x).max() <= 1
    assert x.std() > 1e-3


@pytest.mark.parametrize("class_name", SOUND_CLASSES)
def test_scene_is_textured_and_moves(class_name):
    scene = make_scene(np.random.default_rng(3), class_name, (112, 84))
    first, *others = [scene.render(t) for t in np.linspace(0.5, 9.5, 7)]
    assert first.shape == (84, 112, 3) and first.dtype == np.uint8
    assert first.std() > 3
    assert max(np.abs(frame.astype(int) - first).mean() for frame in others) > 0.05


def test_clips_of_the_same_class_differ():
    a, b = (
        clips.render_model_inputs(clips.draw_recipe(f"{name}_000000", "owl hooting", 0))
        for name in ("a" * 11, "b" * 11)
    )
    assert not np.array_equal(a[0], b[0]) and not np.array_equal(a[1], b[1])


def test_beats_are_nonnegative_and_increasing():
    for class_name in SOUND_CLASSES:
        times = draw_beats(class_name, np.random.default_rng(5))
        assert len(times) >= 2 and times[0] >= 0 and (np.diff(times) > 0).all()


def test_encoding_is_deterministic_given_the_seed():
    recipe = make_small_recipe()
    assert clips.encode_mp4(recipe) == clips.encode_mp4(recipe)
    assert clips.encode_mp4(recipe) != clips.encode_mp4(replace(recipe, seed=1))


def test_clip_is_independent_of_previously_rendered_clips():
    expected = clips.encode_mp4(make_small_recipe("thunder"))
    clips.render_model_inputs(clips.draw_recipe("bbbbbbbbbbb_000000", "playing piano", 0))
    np.random.seed(1)
    assert clips.encode_mp4(make_small_recipe("thunder")) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_rate": 22050, "channels": 2},
        {"fps": Fraction(30000, 1001), "animation_fps": 8.0, "frame_size": (90, 160)},
    ],
    ids=["default", "stereo", "portrait"],
)
def test_file_decodes_to_ten_seconds_of_h264_and_aac(changes):
    recipe = make_small_recipe(**changes)
    with av.open(io.BytesIO(clips.encode_mp4(recipe))) as container:
        (video,), (audio,) = container.streams.video, container.streams.audio
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (audio.rate, audio.channels) == (recipe.sample_rate, recipe.channels)
        frames, samples = [], 0
        for packet in container.demux(video, audio):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    frames.append(frame)
                else:
                    samples += frame.samples
    assert len(frames) == math.ceil(10 * recipe.fps)
    assert (frames[0].width, frames[0].height) == recipe.frame_size
    assert 2 <= sum(f.key_frame for f in frames) <= 6
    assert samples / recipe.sample_rate == pytest.approx(10, abs=0.1)


def test_model_inputs_match_the_encoded_file():
    recipe = make_small_recipe("dog barking", **NO_DISTURBANCES)
    audio, images = clips.render_model_inputs(recipe)
    assert audio.shape == (160000,) and audio.dtype == np.float32
    assert images.shape == (10, 96, 128, 3) and images.dtype == np.uint8
    x, sample_rate, frames, fps = clips.render_clip(recipe)
    assert sample_rate == 16000 and np.array_equal(x[0], audio)
    for k, image in enumerate(images):
        assert np.array_equal(frames[int((k + 0.5) * fps)], image)
    with av.open(io.BytesIO(clips.encode_mp4(recipe))) as container:
        decoded = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    for k, image in enumerate(images):
        assert np.abs(decoded[int((k + 0.5) * fps)] - image).mean() < 8


def test_stereo_channels_average_to_mono_audio():
    recipe = make_small_recipe(channels=2, pan=0.5, **NO_DISTURBANCES)
    x, *_ = clips.render_clip(recipe)
    assert x.shape == (2, 160000)
    unclipped = np.abs(x).max(0) < 1
    assert np.allclose(x.mean(0)[unclipped], clips.render_audio(recipe)[unclipped], atol=1e-6)


def test_second_class_starts_at_the_cut():
    two_classes = make_small_recipe("playing piano", second_class="Duck", cut_time=5.0, **NO_DISTURBANCES)
    one_class = replace(two_classes, second_class=None, cut_time=10.0)
    assert np.array_equal(clips.render_model_inputs(two_classes)[1][:4], clips.render_model_inputs(one_class)[1][:4])
    assert not np.array_equal(clips.render_model_inputs(two_classes)[1][6], clips.render_model_inputs(one_class)[1][6])


def test_disturbances_change_audio_and_frames():
    recipe = make_small_recipe(**NO_DISTURBANCES)
    audio, frames = clips.render_model_inputs(recipe)
    with_background = replace(recipe, background_class="thunder", background_snr_db=12.0)
    assert not np.array_equal(clips.render_audio(with_background), audio)
    occluded = clips.render_model_inputs(replace(recipe, occlusion=(2.0, 5.0, 0.3, 0.35)))[1]
    assert np.array_equal(occluded[0], frames[0]) and not np.array_equal(occluded[3], frames[3])
    shifted = clips.render_model_inputs(replace(recipe, off_screen=(2.0, 5.0, 1.2)))[1]
    assert np.array_equal(shifted[9], frames[9]) and not np.array_equal(shifted[3], frames[3])
    darkened = clips.render_model_inputs(replace(recipe, brightness=(0.5, 0.5)))[1]
    assert darkened.mean() < 0.8 * frames.mean()


def test_recipes_vary_in_format_and_disturbances():
    recipes = [clips.draw_recipe(f"{k:011d}_000000", "helicopter", 0) for k in range(400)]
    assert len({r.frame_size for r in recipes}) == len(clips.FRAME_SIZES)
    assert {r.sample_rate for r in recipes} == set(clips.SAMPLE_RATES) and {r.channels for r in recipes} == {1, 2}
    assert {r.fps for r in recipes} == set(clips.FRAME_RATES)
    assert all(w % 2 == 0 and h % 2 == 0 for w, h in clips.FRAME_SIZES)
    for disturbance in ("background_class", "occlusion", "off_screen"):
        assert 0.01 < np.mean([getattr(r, disturbance) is not None for r in recipes]) < 0.16
    assert all(r.background_class != r.class_name for r in recipes)
