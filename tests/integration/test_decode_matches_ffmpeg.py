"""Pixels before JPEG and samples are those of ffmpeg's command line, file for file.

The command line is told two things that its scale filter does not look up: where 4:2:0 has its chroma (left, ITU-T
H.264 annex E), and to take interlaced pictures field by field. Versions of swscale may round otherwise, so two steps of
255 are allowed, and four of 32,768 for samples; FFmpeg 8.1 here and 5.1 there differ by nothing and by one.
"""

import shutil
import subprocess
import wave
from fractions import Fraction

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image

from synesthesia.data import media
from synesthesia.data.media import container as reading
from synesthesia.data.media import frames, images
from tests.helpers import video_files

INSTALLED = shutil.which("ffmpeg") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="ffmpeg's command line is not installed: apt-get install ffmpeg"),
]

STEPS, SAMPLES = 2, 4
TARGETS = [float(k) for k in range(10)]
X264 = {"preset": "ultrafast", "crf": "28"}
VP9 = {"video": "libvpx-vp9", "options": {"deadline": "realtime"}}


def x264(settings: str) -> dict[str, str]:
    return {**X264, "x264-params": f"threads=1:{settings}"}


FILES = {
    "stereo, 44.1 kHz.mp4": {"size": (160, 90), "fps": Fraction(12000, 1001), "rate": 44100, "layout": "stereo"},
    "made smaller.mp4": {"size": (320, 180), "fps": 5},
    "odd size, yuv444p.mp4": {"options": {**X264, "crf": "20"}, "size": (97, 65), "pix_fmt": "yuv444p", "fps": 5},
    "not square.mp4": {"options": x264("sar=4/3"), "size": (72, 64)},
    "ten bits, 5.1.mp4": {"pix_fmt": "yuv420p10le", "layout": "5.1", "rate": 48000},
    "HD's colours.mp4": {"options": x264("colormatrix=bt709:colorprim=bt709:transfer=bt709")},
    "full range.mp4": {"options": x264("fullrange=on")},
    "interlaced.mp4": {"options": x264("tff=1"), "fps": 12},
    "frame rate varies.mp4": {"fps": 10, "keep": lambda n: n % 7 in (0, 3) or n > 90},
    "twelve seconds.mp4": {"seconds": 12, "fps": 5},
    "mono, 8 kHz.mkv": {"layout": "mono", "rate": 8000, "audio": "flac"},
    "hevc.mp4": {"video": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"}},
    "vp9.webm": {**VP9, "audio": "libopus", "rate": 48000, "fps": 5},
    "mpeg2.ts": {"video": "mpeg2video", "audio": "mp2", "options": {}, "fps": 25, "rate": 32000},
}  # fmt: skip


def command_line(path, folder, size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """One call with both outputs: int16 samples, RGB pictures."""
    chroma = "" if "yuv444p" in path.name else ":in_h_chr_pos=0:in_v_chr_pos=128"
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:interl=-1{chroma},format=rgb24"
    sound = ["-t", "10", "-ac", "1", "-ar", "16000", str(folder / "a.wav")]
    chosen = ["-t", "10", "-vf", f"select='gte(t+1e-3,selected_n)',{scale}", "-vsync", "passthrough"]
    command = ["ffmpeg", "-v", "error", "-i", str(path), *sound, *chosen, str(folder / "%02d.png")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with wave.open(str(folder / "a.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples, [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.glob("*.png"))]


def ours(path, max_pixels: int = video_files.PARAMS["max_pixels"]) -> list[np.ndarray]:
    """The chosen pictures before they become JPEG."""
    with reading.open_container(path) as container:
        video, _ = reading.read_packets(container, 10.0)
        chosen, scaler = frames.select_frames(video, TARGETS, 10.0), VideoReformatter()
        size = media.fit_size(*images.display_size(video.stream, chosen[0]), max_pixels)
        return [images.apply_display_matrix(frame, size, scaler) for frame in chosen]


def assert_alike(path, folder) -> None:
    clip, own = media.decode(path, **video_files.PARAMS), ours(path)
    samples, theirs = command_line(path, folder, clip.size)
    have = min(len(samples), 160000)
    assert have > 159_800 and np.abs(samples[:have].astype(int) - clip.audio[:have]).max() <= SAMPLES
    for mine, picture in zip(own, theirs, strict=True):
        assert np.abs(mine.astype(int) - picture).max() <= STEPS


@pytest.mark.parametrize("name", FILES)
def test_pictures_and_samples_are_the_command_lines(tmp_path, name):
    assert_alike(video_files.make(tmp_path / name, **FILES[name]), tmp_path)


@pytest.mark.parametrize("matrix", video_files.TURNS.values(), ids=video_files.TURNS)
def test_turned_and_mirrored_pictures_are_the_command_lines(tmp_path, matrix):
    assert_alike(video_files.turn(video_files.make(tmp_path / "a.mp4", fps=3), matrix), tmp_path)
