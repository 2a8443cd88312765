"""Real files, decoded: the chosen frames, the samples, and the reason where there are none."""

import io
from fractions import Fraction
from pathlib import Path

import av
import iscc_samples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synesthesia.data import media
from synesthesia.data.media import frames
from tests.helpers import video_files

pytestmark = pytest.mark.slow  # real files of every kind are written and decoded
PARAMS = {**video_files.PARAMS, "jpeg_quality": 100}


def pictures(clip: media.DecodedClip) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int) for jpeg in clip.jpegs]


def reference(path) -> list[np.ndarray]:
    """The rule, done the long way: every frame decoded, the first at or after each second, else the last."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        frames = [(frame.time - start, frame) for frame in container.decode(video=0)]
    frames = [(t, frame) for t, frame in frames if -1e-3 <= t < 10 - 1e-3]
    chosen = [next((f for t, f in frames if t >= k - 1e-3), frames[-1][1]) for k in range(10)]
    return [frame.to_ndarray(format="rgb24").astype(int) for frame in chosen]


VARIANTS = {
    "b-frames.mp4": {"fps": 15, "bframes": 3, "gop": 60, "rate": 44100, "layout": "stereo"},
    "ntsc.mp4": {"fps": Fraction(12000, 1001)},
    "key-frames-only.mp4": {"gop": 1, "bframes": 0},
    "five-frames-a-second.mkv": {"fps": 5, "audio": "flac"},
    "variable.mp4": {"fps": 10, "keep": lambda n: n % 7 in (0, 3) or n > 90},
    "gap.mkv": {"fps": 10, "bframes": 0, "keep": lambda n: not 22 < n < 58},
    "nine-seconds.mp4": {"seconds": 9},
    "twelve-seconds.mp4": {"seconds": 12, "fps": 5},
    "vp9.webm": {
        "video": "libvpx-vp9",
        "audio": "libopus",
        "rate": 48000,
        "options": {"deadline": "realtime"},
        "fps": 5,
    },
    "vp8.webm": {"video": "libvpx", "audio": "libopus", "rate": 48000, "options": {"deadline": "realtime"}, "fps": 5},
    "mpeg4.avi": {"video": "mpeg4", "audio": "libmp3lame", "options": {}, "bframes": 0},
    "mpeg2.ts": {"video": "mpeg2video", "audio": "mp2", "options": {}, "fps": 25},
    "ten-bit-surround.mp4": {"pix_fmt": "yuv420p10le", "layout": "5.1", "rate": 48000},
    "mono-8k.mp4": {"layout": "mono", "rate": 8000},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_ten_frames_and_all_samples_of_every_kind_of_file(tmp_path, name):
    path = video_files.make(tmp_path / name, **VARIANTS[name])
    clip = media.decode(path, **PARAMS)
    assert clip.audio.dtype == np.int16 and clip.audio.shape == (160000,)
    assert clip.size == (96, 64) and len(clip.jpegs) == 10
    for ours, theirs in zip(pictures(clip), reference(path), strict=True):
        assert ours.shape == theirs.shape and np.abs(ours - theirs).mean() < 8  # JPEG, and another frame would be 20


@pytest.mark.parametrize("name", ["b-frames.mp4", "ntsc.mp4", "variable.mp4", "gap.mkv", "twelve-seconds.mp4"])
def test_the_short_way_and_the_long_way_give_the_same_bytes(tmp_path, monkeypatch, name):
    path = video_files.make(tmp_path / name, **VARIANTS[name])
    long_way = []
    timed = frames._add_times
    monkeypatch.setattr(frames, "_add_times", lambda *given: long_way.append(1) or timed(*given))
    short = media.decode(path, **PARAMS)
    assert not long_way, "the short way was not taken"
    monkeypatch.setattr(frames, "select_timestamps", lambda *_: None)
    assert media.decode(path, **PARAMS).jpegs == short.jpegs and long_way


def test_b_frames_without_presentation_times_come_out_in_order(tmp_path):
    for name in ("a.mp4", "a.avi"):
        video_files.make(tmp_path / name, fps=12, bframes=3, audio="libmp3lame")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    ours = pictures(media.decode(tmp_path / "a.avi", **PARAMS))
    nearest = [int(np.argmin([np.abs(one - frame).mean() for frame in frames])) for one in ours]
    assert all(abs(found - 12 * k) <= 3 for k, found in enumerate(nearest)), nearest


def test_a_short_end_is_silence_and_the_last_frame(tmp_path):
    clip = media.decode(video_files.make(tmp_path / "a.mkv", seconds=9, audio="flac"), **PARAMS)
    assert not clip.audio[9 * 16000 + 100 :].any() and clip.audio[9 * 16000 - 400 :].any()
    assert clip.jpegs[9] == clip.jpegs[8] != clip.jpegs[7] or len(set(clip.jpegs)) == 10


@pytest.mark.parametrize(
    ("size", "largest", "expected"),
    [((1280, 720), 262144, (682, 384)), ((640, 360), 262144, (640, 360)), ((97, 65), 10**6, (96, 64)),
     ((720, 1280), 9408, (72, 128)), ((4000, 2), 9408, (4000, 2)), ((512, 512), 262144, (512, 512)),
     ((1, 1_000_000), 262144, (2, 131072))],
)  # fmt: skip
def test_pictures_shrink_only_where_they_are_too_large(size, largest, expected):
    width, height = media.fit_size(*size, largest)
    assert (width, height) == expected and width * height <= largest


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(4, 300_000))
def test_pictures_of_any_size_fit_and_keep_their_shape(width, height, largest):
    fitted = media.fit_size(width, height, largest)
    assert fitted[0] * fitted[1] <= largest and all(side >= 2 and side % 2 == 0 for side in fitted)
    for own, new in zip((width, height), fitted, strict=True):
        assert new <= max(2, own)
        assert abs(new - own * min(1.0, (largest / (width * height)) ** 0.5)) <= 2 or 2 in fitted


def test_odd_sizes_and_other_pixel_ratios_are_shown_right(tmp_path):
    path = video_files.make(tmp_path / "a.mkv", video="ffv1", size=(97, 65), options={}, pix_fmt="yuv444p", fps=5)
    assert media.decode(path, **PARAMS).size == (96, 64)
    x264 = {"preset": "ultrafast", "crf": "28", "x264-params": "threads=1:sar=4/3"}
    wide = video_files.make(tmp_path / "wide.mp4", size=(72, 64), options=x264)
    assert media.decode(wide, **PARAMS).size == (96, 64)


@pytest.mark.parametrize("matrix", video_files.TURNS.values(), ids=video_files.TURNS)
def test_a_pictures_point_is_shown_where_the_display_matrix_puts_it(tmp_path, matrix):
    path = video_files.make(tmp_path / "a.mp4", size=(64, 48), fps=3)
    plain = pictures(media.decode(path, **PARAMS))[3]
    video_files.turn(path, matrix)
    turned = pictures(media.decode(path, **PARAMS))[3]
    (a, b), (c, d) = matrix
    height, width = plain.shape[:2]
    y, x = np.mgrid[:height, :width]
    x_shown, y_shown = a * x + c * y, b * x + d * y  # QuickTime file format, matrix structures
    expected = np.zeros_like(turned)
    expected[y_shown - y_shown.min(), x_shown - x_shown.min()] = plain
    assert np.abs(turned - expected).mean() < 1.5  # JPEG; turned otherwise it is ten times that


def test_pictures_and_sound_that_begin_late_count_from_the_files_start(tmp_path):
    options = {"container": {"avoid_negative_ts": "disabled"}}
    whole = media.decode(video_files.make(tmp_path / "a.mkv", fps=10, audio="flac"), **PARAMS)
    late = media.decode(video_files.make(tmp_path / "b.mkv", fps=10, audio="flac", first=20, **options), **PARAMS)
    assert np.array_equal(late.audio, whole.audio)
    gaps = [np.abs(a - b).mean() for a, b in zip(pictures(late), pictures(whole), strict=True)]
    assert max(gaps[2:]) < 6 and min(gaps[:2]) > 8
    assert late.jpegs[0] == late.jpegs[1] == late.jpegs[2] != late.jpegs[3]


def test_a_download_cut_behind_the_end_of_its_video_holds_no_clip(tmp_path):
    for name, expected in (("a.mp4", "no video stream"), ("a.mkv", "truncated")):  # heads, and not one packet
        assert reason(video_files.make(tmp_path / name, seconds=0))[0] == expected
    assert reason(video_files.make(tmp_path / "b.mp4", seconds=0.2))[0] == "too short"


LACKING = {"demo.gif": "no audio stream", "demo.m1v": "no audio stream"}


@pytest.mark.parametrize(
    "path", sorted((Path(iscc_samples.__file__).parent / "files/video").iterdir()), ids=lambda p: p.name
)
def test_one_clip_in_twenty_containers_is_decoded_or_put_aside_with_the_reason(path):
    if path.name in LACKING:
        assert reason(path)[0] == LACKING[path.name]
        return
    clip = media.decode(path, **PARAMS)
    assert len(set(clip.jpegs)) == 10 and clip.audio.shape == (160000,) and clip.audio.std() > 500


def reason(path, **changes) -> tuple[str, str]:
    with pytest.raises(media.MediaError) as caught:
        media.decode(path, **{**PARAMS, **changes})
    return caught.value.reason, caught.value.detail


def test_every_kind_of_damage_has_its_reason(tmp_path):
    def write(name: str, data: bytes):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    whole = video_files.make(tmp_path / "a.mp4").read_bytes()
    fast = video_files.make(tmp_path / "b.mp4", container={"movflags": "faststart"}).read_bytes()
    webm = video_files.make(tmp_path / "c.mkv").read_bytes()
    assert reason(tmp_path / "none.mp4")[0] == "absent"
    assert reason(write("empty.mp4", b""))[0] == "empty file"
    assert reason(write("text.mp4", b"<html>not found</html>" * 50))[0] == "not a media file"
    assert reason(tmp_path)[0] == "not a media file"
    assert reason(write("cut.mp4", whole[: len(whole) // 2]))[0] == "truncated"
    assert reason(write("cut-late-index.mp4", fast[: len(fast) // 2]))[0] == "truncated"
    assert reason(write("cut.mkv", webm[: len(webm) // 2])) == (
        "truncated", reason(tmp_path / "cut.mkv")[1])  # fmt: skip
    assert "file announces" in reason(tmp_path / "cut.mkv")[1]
    assert reason(video_files.make(tmp_path / "deaf.mp4", audio=None))[0] == "no audio stream"
    assert reason(video_files.make(tmp_path / "blind.mp4", video=None))[0] == "no video stream"
    assert reason(video_files.make(tmp_path / "short.mp4", seconds=5)) == (
        "too short",
        "video for 5.0 s, 8 s are needed",
    )
    assert reason(video_files.make(tmp_path / "mute.mp4", audio_seconds=4))[0] == "too short"


def test_a_picture_on_a_song_is_no_video(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    with av.open(str(tmp_path / "song.mp3"), "w") as out:
        sound = out.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = out.add_stream("png", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64)))))
        out.mux(cover.encode())
        wave_ = video_files.tone(10, 16000, 1)
        for start in range(0, 160000, 1152):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_[:, start : start + 1152]), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    assert reason(tmp_path / "song.mp3")[0] == "no video stream"
