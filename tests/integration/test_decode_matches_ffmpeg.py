"""Pixels before JPEG and audio samples equal those of ffmpeg's command line, file by file.

The command line needs two options that its scale filter does not infer: the chroma location of 4:2:0 (left, ITU-T
H.264 annex E), and field-wise scaling of interlaced frames. Rounding differs between versions of swscale, so the
tolerance is 2 of 255 for pixels and 4 of 32,768 for samples; FFmpeg 8.1 and 5.1 differ by 0 and 1.
"""

import shutil
import subprocess
import wave
from fractions import Fraction

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from PIL import Image

from benchmarks.tools import video_files
from synesthesia.data import media
from synesthesia.data.media import container, frames, images

IS_INSTALLED = shutil.which("ffmpeg") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_INSTALLED, reason="ffmpeg's command line is not installed: apt-get install ffmpeg"),
]

PIXEL_TOLERANCE, SAMPLE_TOLERANCE = 2, 4
TARGET_TIMES = [float(k) for k in range(10)]
X264 = {"preset": "ultrafast", "crf": "28"}
VP9 = {"video": "libvpx-vp9", "options": {"deadline": "realtime"}}


def x264(params: str) -> dict[str, str]:
    return {**X264, "x264-params": f"threads=1:{params}"}


FILES = {
    "stereo, 44.1 kHz.mp4": {"size": (160, 90), "fps": Fraction(12000, 1001), "sample_rate": 44100, "layout": "stereo"},
    "scaled down.mp4": {"size": (320, 180), "fps": 5},
    "odd size, yuv444p.mp4": {"options": {**X264, "crf": "20"}, "size": (97, 65), "pix_fmt": "yuv444p", "fps": 5},
    "non-square pixels.mp4": {"options": x264("sar=4/3"), "size": (72, 64)},
    "10 bits, 5.1.mp4": {"pix_fmt": "yuv420p10le", "layout": "5.1", "sample_rate": 48000},
    "HD colors.mp4": {"options": x264("colormatrix=bt709:colorprim=bt709:transfer=bt709")},
    "full range.mp4": {"options": x264("fullrange=on")},
    "interlaced.mp4": {"options": x264("tff=1"), "fps": 12},
    "variable frame rate.mp4": {"fps": 10, "keep_frame": lambda n: n % 7 in (0, 3) or n > 90},
    "twelve seconds.mp4": {"seconds": 12, "fps": 5},
    "mono, 8 kHz.mkv": {"layout": "mono", "sample_rate": 8000, "audio": "flac"},
    "hevc.mp4": {"video": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none"}},
    "vp9.webm": {**VP9, "audio": "libopus", "sample_rate": 48000, "fps": 5},
    "mpeg2.ts": {"video": "mpeg2video", "audio": "mp2", "options": {}, "fps": 25, "sample_rate": 32000},
}  # fmt: skip


def run_ffmpeg(path, folder, size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return int16 samples and RGB images from one call with both outputs."""
    chroma = "" if "yuv444p" in path.name else ":in_h_chr_pos=0:in_v_chr_pos=128"
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:interl=-1{chroma},format=rgb24"
    audio = ["-t", "10", "-ac", "1", "-ar", "16000", str(folder / "a.wav")]
    video = ["-t", "10", "-vf", f"select='gte(t+1e-3,selected_n)',{scale}", "-vsync", "passthrough"]
    command = ["ffmpeg", "-v", "error", "-i", str(path), *audio, *video, str(folder / "%02d.png")]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with wave.open(str(folder / "a.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples, [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.glob("*.png"))]


def select_images(path, max_pixels: int = video_files.DECODE_PARAMS["max_pixels"]) -> list[np.ndarray]:
    """Return the selected frames before JPEG encoding."""
    with container.open_container(path) as input_container:
        video, _ = container.read_packets(input_container, 10.0)
        selected, scaler = frames.select_frames(video, TARGET_TIMES, 10.0), VideoReformatter()
        size = media.fit_size(*images.display_size(video.stream, selected[0]), max_pixels)
        return [images.apply_display_matrix(frame, size, scaler) for frame in selected]


def assert_matches_ffmpeg(path, folder) -> None:
    clip, selected_images = media.decode(path, **video_files.DECODE_PARAMS), select_images(path)
    samples, expected_images = run_ffmpeg(path, folder, clip.size)
    length = min(len(samples), 160000)
    assert length > 159_800 and np.abs(samples[:length].astype(int) - clip.audio[:length]).max() <= SAMPLE_TOLERANCE
    for image, expected in zip(selected_images, expected_images, strict=True):
        assert np.abs(image.astype(int) - expected).max() <= PIXEL_TOLERANCE


@pytest.mark.parametrize("name", FILES)
def test_images_and_samples_equal_ffmpegs(tmp_path, name):
    assert_matches_ffmpeg(video_files.write_clip(tmp_path / name, **FILES[name]), tmp_path)


@pytest.mark.parametrize("matrix", video_files.DISPLAY_MATRICES.values(), ids=video_files.DISPLAY_MATRICES)
def test_rotated_and_mirrored_images_equal_ffmpegs(tmp_path, matrix):
    path = video_files.write_clip(tmp_path / "a.mp4", fps=3)
    assert_matches_ffmpeg(video_files.set_display_matrix(path, matrix), tmp_path)
