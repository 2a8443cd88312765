"""When pictures and sound begin, pause, and end: what keeps its place, and what is too short or truncated."""

import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from benchmarks.tools import video_files
from synesthesia.data import media

pytestmark = pytest.mark.slow  # writes and decodes real files

PARAMS = video_files.DECODE_PARAMS
RATE = 16000
CODECS = {
    "mp4": {"bframes": 0},
    "mov": {"bframes": 0},
    "mkv": {"bframes": 0},
    "ts": {"bframes": 0},
    "avi": {"video": "mpeg4", "audio": "pcm_s16le", "options": {}, "bframes": 0},
    "nut": {"video": "mpeg4", "audio": "pcm_s16le", "options": {}, "bframes": 0},
    "webm": {"video": "libvpx", "audio": "libopus", "sample_rate": 48000, "options": {"deadline": "realtime"}},
}


def remux(source: Path, target: Path, place_packet: Callable[[Packet, float], float | None]) -> Path:
    """Copy the packets of a file.

    Args:
        source: The file, without B-frames.
        target: The copy.
        place_packet: Returns by how many seconds a packet at a time moves, None to drop it.

    Returns:
        The copy.
    """
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        packets = []
        for packet in container.demux():
            time_base = packet.time_base
            if packet.dts is None or packet.pts is None or time_base is None:
                continue
            shift = place_packet(packet, float(packet.pts * time_base))
            if shift is not None:
                packet.pts += round(shift / time_base)
                packet.dts += round(shift / time_base)
                packets.append((float(packet.dts * time_base), packet.stream_index, packet))
        for _, index, packet in sorted(packets, key=lambda entry: entry[:2]):
            packet.stream = streams[index]
            output.mux(packet)
    return target


def is_sound(packet: Packet) -> bool:
    return packet.stream.type == "audio"


def move_sound(seconds: float) -> Callable[[Packet, float], float | None]:
    return lambda packet, time: (seconds if time < 10 - seconds else None) if is_sound(packet) else 0


def reject(path: Path, **changes) -> tuple[str, str]:
    with pytest.raises(media.MediaError) as error:
        media.decode(path, **{**PARAMS, **changes})
    return error.value.reason, error.value.detail


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv", "ts", "nut"])
@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0, 7.0])
def test_late_sound_keeps_its_place(tmp_path, extension, seconds):
    source = video_files.write_clip(tmp_path / f"a.{extension}", fps=3, **CODECS[extension])
    late = media.decode(remux(source, tmp_path / f"b.{extension}", move_sound(seconds)), **PARAMS)
    intact = media.decode(source, **PARAMS)
    num_silent = round(seconds * RATE)
    assert not late.audio[: num_silent - 1100].any()  # the encoder's delay of 1,024 samples moves with the sound
    shift = find_shift(intact.audio, late.audio)
    assert abs(shift - num_silent) <= 1100 and late.jpegs == intact.jpegs


def find_shift(before: np.ndarray, after: np.ndarray) -> int:
    """Return by how many samples `after` is late: the maximum of their correlation."""
    length = 2 * len(before)
    spectrum = np.fft.rfft(after.astype(float), length) * np.conj(np.fft.rfft(before.astype(float), length))
    return int(np.argmax(np.fft.irfft(spectrum)[: len(before)]))


@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts", "nut"])
def test_pause_in_the_sound_is_silence_in_its_place(tmp_path, extension):
    source = video_files.write_clip(tmp_path / f"a.{extension}", fps=3, **CODECS[extension])

    with av.open(str(source)) as container:
        start = (container.start_time or 0) / av.time_base

    def cut_pause(packet: Packet, time: float) -> float | None:
        return None if is_sound(packet) and 4 <= time - start < 6 else 0

    paused = media.decode(remux(source, tmp_path / f"b.{extension}", cut_pause), **PARAMS)
    intact = media.decode(source, **PARAMS)
    assert not paused.audio[round(4.15 * RATE) : round(5.9 * RATE)].any()
    for part in (slice(200, round(3.9 * RATE)), slice(round(6.2 * RATE), round(9.9 * RATE))):
        assert np.abs(paused.audio[part].astype(int) - intact.audio[part]).max() <= 4
    assert paused.jpegs == intact.jpegs


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg's command line is not installed")
@pytest.mark.parametrize("extension", ["mp4", "mov", "nut"])
@pytest.mark.parametrize("kind", ["late", "pause"])
def test_sound_with_gaps_equals_that_of_ffmpegs_option_async(tmp_path, extension, kind):
    source = video_files.write_clip(tmp_path / f"a.{extension}", fps=3, **CODECS[extension])
    place = move_sound(1.5) if kind == "late" else lambda p, time: None if is_sound(p) and 4 <= time < 6 else 0
    path = remux(source, tmp_path / f"b.{extension}", place)
    option = "aresample=async=1:min_hard_comp=0.1:first_pts=0"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-af", option, "-t", "10", "-ac", "1", "-ar", str(RATE)]
    subprocess.run([*command, str(tmp_path / "a.wav")], check=True, stdin=subprocess.DEVNULL)
    with wave.open(str(tmp_path / "a.wav")) as file:
        expected = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)
    length = min(len(expected), 10 * RATE)
    assert length > 9.8 * RATE
    assert np.abs(media.decode(path, **PARAMS).audio[:length] - expected[:length]).max() <= 4


def test_sound_that_begins_after_the_clip_is_rejected(tmp_path):
    source = video_files.write_clip(tmp_path / "a.mkv", seconds=14, fps=3, bframes=0)
    place = lambda packet, time: (12 if time < 2 else None) if is_sound(packet) else 0  # noqa: E731
    for name in ("b.mkv", "b.mp4"):
        reason, detail = reject(remux(source, tmp_path / name, place))
        assert reason == "too short" and detail.startswith("audio begins at 1") and detail.endswith("ends at 10 s")


def test_timestamps_that_begin_anew_lose_no_sound(tmp_path):
    source = video_files.write_clip(tmp_path / "a.nut", fps=3, **CODECS["nut"])
    intact = media.decode(source, **PARAMS)
    moved = remux(source, tmp_path / "b.nut", lambda packet, time: -0.05 if is_sound(packet) and time > 5 else 0)
    assert np.array_equal(media.decode(moved, **PARAMS).audio, intact.audio)


@pytest.mark.parametrize("offsets", [(0, 0), (0, 3600), (3600, 0)])
def test_parts_of_a_transport_stream_follow_one_another(tmp_path, offsets):
    """Recorders append parts whose timestamps begin anew; ffmpeg joins them."""
    parts = []
    for number, offset in enumerate(offsets):
        path = video_files.write_clip(tmp_path / f"{number}.ts", seconds=5, fps=3, **CODECS["ts"])
        if offset:
            path = remux(path, tmp_path / f"late{number}.ts", lambda packet, time, offset=offset: offset)
        parts.append(path.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    clip = media.decode(tmp_path / "a.ts", **PARAMS)
    first, second = clip.audio.copy(), clip.audio.copy()
    first[5 * RATE :], second[: 5 * RATE] = 0, 0
    assert abs(find_shift(first, second) - 5 * RATE) < 0.15 * RATE
    assert len(set(clip.jpegs[:5])) == 5 and len(set(clip.jpegs[5:])) >= 4


@pytest.mark.parametrize("extension", CODECS)
def test_still_picture_is_shown_for_the_whole_clip(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    clip = media.decode(
        video_files.write_clip(path, fps=3, keep_frame=lambda index: not index, **CODECS[extension]), **PARAMS
    )
    assert len(clip.jpegs) == 10 and len(set(clip.jpegs)) == 1 and clip.audio[9 * RATE :].any()


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_each_picture_of_a_slide_show_is_shown_until_the_next(tmp_path, extension):
    options = {**CODECS[extension], "keep_frame": lambda index: index % 9 == 0}
    clip = media.decode(video_files.write_clip(tmp_path / f"a.{extension}", fps=3, **options), **PARAMS)
    assert len(set(clip.jpegs)) == 4 and clip.jpegs[0] != clip.jpegs[1] == clip.jpegs[2] == clip.jpegs[3]


def test_still_picture_with_short_sound_is_too_short(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        path = video_files.write_clip(tmp_path / name, fps=3, keep_frame=lambda index: not index, audio_seconds=5)
        reason, detail = reject(path)
        assert reason == "too short" and detail.startswith("audio lasts 5.")


def test_cut_file_with_one_picture_left_is_truncated(tmp_path):
    options = {"movflags": "faststart"}
    data = video_files.write_clip(tmp_path / "a.mp4", fps=3, container_options=options).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: data.index(b"mdat") + 4000])
    assert reject(tmp_path / "b.mp4")[0] == "truncated"


def test_the_stream_that_ends_early_is_too_short_and_a_cut_file_truncated(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        path = video_files.write_clip(tmp_path / name, fps=6, audio_seconds=4)
        reason, detail = reject(path)
        assert reason == "too short" and detail.startswith("audio lasts 4.")
        path = video_files.write_clip(tmp_path / f"b{path.suffix}", fps=6, keep_frame=lambda index: index < 30)
        assert reject(path) == ("too short", "video lasts 5.0 s, the minimum is 8 s")
    data = video_files.write_clip(tmp_path / "c.mkv").read_bytes()
    (tmp_path / "c.mkv").write_bytes(data[: len(data) // 2])
    assert reject(tmp_path / "c.mkv")[0] == "truncated"


@pytest.mark.parametrize("extension", ["mp4", "mkv", "nut"])
def test_one_frame_may_be_missing(tmp_path, extension):
    options = {"fps": 5, **CODECS[extension]}
    within = video_files.write_clip(tmp_path / f"a.{extension}", seconds=7.8, audio_seconds=7.96, **options)
    assert len(media.decode(within, **PARAMS).jpegs) == 10
    below = video_files.write_clip(tmp_path / f"b.{extension}", seconds=7.6, audio_seconds=7.96, **options)
    assert reject(below) == ("too short", "video lasts 7.6 s, the minimum is 8 s")
    silent = video_files.write_clip(tmp_path / f"c.{extension}", seconds=8, audio_seconds=7.6, **options)
    assert reject(silent)[0] == "too short"


def test_cover_art_before_the_video_is_not_taken(tmp_path):
    source = video_files.write_clip(tmp_path / "a.mp4", fps=3)
    with av.open(str(source)) as container, av.open(str(tmp_path / "b.mp4"), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        assert isinstance(cover, VideoStream)
        cover.width, cover.height, cover.pix_fmt = 200, 200, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        output.start_encoding()
        frame = av.VideoFrame.from_ndarray(np.zeros((200, 200, 3), np.uint8), format="rgb24")
        output.mux(cover.encode(frame) + cover.encode())
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    assert media.decode(tmp_path / "b.mp4", **PARAMS).jpegs == media.decode(source, **PARAMS).jpegs
