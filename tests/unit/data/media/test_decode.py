"""Decoding of real files: selected frames, audio samples, and reasons of rejection."""

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

from benchmarks.tools import video_files
from synesthesia.data import media
from synesthesia.data.media import frames

pytestmark = pytest.mark.slow  # writes and decodes real files of every kind
PARAMS = {**video_files.DECODE_PARAMS, "jpeg_quality": 100}


def decode_images(clip: media.DecodedClip) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int) for jpeg in clip.jpegs]


def decode_reference(path) -> list[np.ndarray]:
    """Apply the rule to all frames: the first at or after each second, else the last."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        frames = [(frame.time - start, frame) for frame in container.decode(video=0)]
    frames = [(t, frame) for t, frame in frames if -1e-3 <= t < 10 - 1e-3]
    selected = [next((f for t, f in frames if t >= k - 1e-3), frames[-1][1]) for k in range(10)]
    return [frame.to_ndarray(format="rgb24").astype(int) for frame in selected]


VARIANTS = {
    "b-frames.mp4": {"fps": 15, "bframes": 3, "gop": 60, "sample_rate": 44100, "layout": "stereo"},
    "ntsc.mp4": {"fps": Fraction(12000, 1001)},
    "key-frames-only.mp4": {"gop": 1, "bframes": 0},
    "five-frames-per-second.mkv": {"fps": 5, "audio": "flac"},
    "variable.mp4": {"fps": 10, "keep_frame": lambda n: n % 7 in (0, 3) or n > 90},
    "gap.mkv": {"fps": 10, "bframes": 0, "keep_frame": lambda n: not 22 < n < 58},
    "nine-seconds.mp4": {"seconds": 9},
    "twelve-seconds.mp4": {"seconds": 12, "fps": 5},
    "vp9.webm": {
        "video": "libvpx-vp9",
        "audio": "libopus",
        "sample_rate": 48000,
        "options": {"deadline": "realtime"},
        "fps": 5,
    },
    "vp8.webm": {
        "video": "libvpx",
        "audio": "libopus",
        "sample_rate": 48000,
        "options": {"deadline": "realtime"},
        "fps": 5,
    },
    "mpeg4.avi": {"video": "mpeg4", "audio": "libmp3lame", "options": {}, "bframes": 0},
    "mpeg2.ts": {"video": "mpeg2video", "audio": "mp2", "options": {}, "fps": 25},
    "ten-bit-surround.mp4": {"pix_fmt": "yuv420p10le", "layout": "5.1", "sample_rate": 48000},
    "mono-8k.mp4": {"layout": "mono", "sample_rate": 8000},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_decodes_ten_frames_and_all_samples_of_every_kind_of_file(tmp_path, name):
    path = video_files.write_clip(tmp_path / name, **VARIANTS[name])
    clip = media.decode(path, **PARAMS)
    assert clip.audio.dtype == np.int16 and clip.audio.shape == (160000,)
    assert clip.size == (96, 64) and len(clip.jpegs) == 10
    for image, expected in zip(decode_images(clip), decode_reference(path), strict=True):
        assert (
            image.shape == expected.shape and np.abs(image - expected).mean() < 8
        )  # JPEG; another frame differs by 20


@pytest.mark.parametrize("name", ["b-frames.mp4", "ntsc.mp4", "variable.mp4", "gap.mkv", "twelve-seconds.mp4"])
def test_selective_and_full_decoding_give_the_same_bytes(tmp_path, monkeypatch, name):
    path = video_files.write_clip(tmp_path / name, **VARIANTS[name])
    full_decodings = []
    add_times = frames._add_times
    monkeypatch.setattr(frames, "_add_times", lambda *args: full_decodings.append(1) or add_times(*args))
    selective = media.decode(path, **PARAMS)
    assert not full_decodings, "all frames were decoded"
    monkeypatch.setattr(frames, "select_timestamps", lambda *_: None)
    assert media.decode(path, **PARAMS).jpegs == selective.jpegs and full_decodings


def test_b_frames_without_presentation_timestamps_are_in_order(tmp_path):
    for name in ("a.mp4", "a.avi"):
        video_files.write_clip(tmp_path / name, fps=12, bframes=3, audio="libmp3lame")
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    images = decode_images(media.decode(tmp_path / "a.avi", **PARAMS))
    nearest = [int(np.argmin([np.abs(image - frame).mean() for frame in frames])) for image in images]
    assert all(abs(index - 12 * k) <= 3 for k, index in enumerate(nearest)), nearest


def test_short_file_is_padded_with_silence_and_the_last_frame(tmp_path):
    clip = media.decode(video_files.write_clip(tmp_path / "a.mkv", seconds=9, audio="flac"), **PARAMS)
    assert not clip.audio[9 * 16000 + 100 :].any() and clip.audio[9 * 16000 - 400 :].any()
    assert clip.jpegs[9] == clip.jpegs[8] != clip.jpegs[7] or len(set(clip.jpegs)) == 10


@pytest.mark.parametrize(
    ("size", "max_pixels", "expected"),
    [((1280, 720), 262144, (682, 384)), ((640, 360), 262144, (640, 360)), ((97, 65), 10**6, (96, 64)),
     ((720, 1280), 9408, (72, 128)), ((4000, 2), 9408, (4000, 2)), ((512, 512), 262144, (512, 512)),
     ((1, 1_000_000), 262144, (2, 131072))],
)  # fmt: skip
def test_frames_are_scaled_down_only_if_too_large(size, max_pixels, expected):
    width, height = media.fit_size(*size, max_pixels)
    assert (width, height) == expected and width * height <= max_pixels


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(4, 300_000))
def test_frames_of_any_size_fit_and_keep_their_aspect_ratio(width, height, max_pixels):
    fitted = media.fit_size(width, height, max_pixels)
    assert fitted[0] * fitted[1] <= max_pixels and all(side >= 2 and side % 2 == 0 for side in fitted)
    for original, new in zip((width, height), fitted, strict=True):
        assert new <= max(2, original)
        assert abs(new - original * min(1.0, (max_pixels / (width * height)) ** 0.5)) <= 2 or 2 in fitted


def test_odd_sizes_and_non_square_pixels_have_the_display_size(tmp_path):
    path = video_files.write_clip(tmp_path / "a.mkv", video="ffv1", size=(97, 65), options={}, pix_fmt="yuv444p", fps=5)
    assert media.decode(path, **PARAMS).size == (96, 64)
    x264 = {"preset": "ultrafast", "crf": "28", "x264-params": "threads=1:sar=4/3"}
    wide = video_files.write_clip(tmp_path / "wide.mp4", size=(72, 64), options=x264)
    assert media.decode(wide, **PARAMS).size == (96, 64)


@pytest.mark.parametrize("matrix", video_files.DISPLAY_MATRICES.values(), ids=video_files.DISPLAY_MATRICES)
def test_display_matrix_moves_each_pixel(tmp_path, matrix):
    path = video_files.write_clip(tmp_path / "a.mp4", size=(64, 48), fps=3)
    original = decode_images(media.decode(path, **PARAMS))[3]
    video_files.set_display_matrix(path, matrix)
    transformed = decode_images(media.decode(path, **PARAMS))[3]
    (a, b), (c, d) = matrix
    height, width = original.shape[:2]
    y, x = np.mgrid[:height, :width]
    x_new, y_new = a * x + c * y, b * x + d * y  # QuickTime file format, matrix structures
    expected = np.zeros_like(transformed)
    expected[y_new - y_new.min(), x_new - x_new.min()] = original
    assert np.abs(transformed - expected).mean() < 1.5  # JPEG; another transformation is ten times that


def test_late_streams_count_from_the_start_of_the_file(tmp_path):
    options = {"container_options": {"avoid_negative_ts": "disabled"}}
    complete = media.decode(video_files.write_clip(tmp_path / "a.mkv", fps=10, audio="flac"), **PARAMS)
    late = media.decode(
        video_files.write_clip(tmp_path / "b.mkv", fps=10, audio="flac", first_frame=20, **options), **PARAMS
    )
    assert np.array_equal(late.audio, complete.audio)
    differences = [np.abs(a - b).mean() for a, b in zip(decode_images(late), decode_images(complete), strict=True)]
    assert max(differences[2:]) < 6 and min(differences[:2]) > 8
    assert late.jpegs[0] == late.jpegs[1] == late.jpegs[2] != late.jpegs[3]


def test_file_without_packets_is_rejected(tmp_path):
    for name, expected in (("a.mp4", "no video stream"), ("a.mkv", "truncated")):  # headers without packets
        assert reject(video_files.write_clip(tmp_path / name, seconds=0))[0] == expected
    assert reject(video_files.write_clip(tmp_path / "b.mp4", seconds=0.2))[0] == "too short"


REJECTED_SAMPLES = {"demo.gif": "no audio stream", "demo.m1v": "no audio stream"}


@pytest.mark.parametrize(
    "path", sorted((Path(iscc_samples.__file__).parent / "files/video").iterdir()), ids=lambda p: p.name
)
def test_one_clip_in_twenty_containers_is_decoded_or_rejected_with_a_reason(path):
    if path.name in REJECTED_SAMPLES:
        assert reject(path)[0] == REJECTED_SAMPLES[path.name]
        return
    clip = media.decode(path, **PARAMS)
    assert len(set(clip.jpegs)) == 10 and clip.audio.shape == (160000,) and clip.audio.std() > 500


def reject(path, **changes) -> tuple[str, str]:
    """Return reason and detail of the rejection."""
    with pytest.raises(media.MediaError) as error:
        media.decode(path, **{**PARAMS, **changes})
    return error.value.reason, error.value.detail


def test_every_kind_of_damage_has_a_reason(tmp_path):
    def write(name: str, data: bytes):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    intact = video_files.write_clip(tmp_path / "a.mp4").read_bytes()
    faststart = video_files.write_clip(tmp_path / "b.mp4", container_options={"movflags": "faststart"}).read_bytes()
    matroska = video_files.write_clip(tmp_path / "c.mkv").read_bytes()
    assert reject(tmp_path / "missing.mp4")[0] == "absent"
    assert reject(write("empty.mp4", b""))[0] == "empty file"
    assert reject(write("text.mp4", b"<html>not found</html>" * 50))[0] == "not a media file"
    assert reject(tmp_path)[0] == "not a media file"
    assert reject(write("cut.mp4", intact[: len(intact) // 2]))[0] == "truncated"
    assert reject(write("cut-late-index.mp4", faststart[: len(faststart) // 2]))[0] == "truncated"
    assert reject(write("cut.mkv", matroska[: len(matroska) // 2])) == (
        "truncated", reject(tmp_path / "cut.mkv")[1])  # fmt: skip
    assert "the file declares" in reject(tmp_path / "cut.mkv")[1]
    assert reject(video_files.write_clip(tmp_path / "no-audio.mp4", audio=None))[0] == "no audio stream"
    assert reject(video_files.write_clip(tmp_path / "no-video.mp4", video=None))[0] == "no video stream"
    assert reject(video_files.write_clip(tmp_path / "short.mp4", seconds=5)) == (
        "too short",
        "video lasts 5.0 s, the minimum is 8 s",
    )
    assert reject(video_files.write_clip(tmp_path / "short-audio.mp4", audio_seconds=4))[0] == "too short"


def test_cover_art_is_not_a_video_stream(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    with av.open(str(tmp_path / "song.mp3"), "w") as container:
        stream = container.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64)))))
        container.mux(cover.encode())
        wave = video_files.render_tone(10, 16000, 1)
        for start in range(0, 160000, 1152):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1152]), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reject(tmp_path / "song.mp3")[0] == "no video stream"
