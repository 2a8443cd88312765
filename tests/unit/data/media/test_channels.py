"""Any channel layout and sample format is mixed to mono, in a decoding process that survives it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.tools import video_files
from synesthesia.data import decode_jobs, media
from synesthesia.data.media import channels

pytestmark = pytest.mark.slow  # writes and decodes real files

PARAMS = video_files.DECODE_PARAMS
RATE = 16000
# QuickTime's channel layout tags (CoreAudioBaseTypes.h) and the order that they stand for
QUICKTIME_ORDERS = {
    "MPEG 5.1 A": (121 << 16 | 6, "FL FR FC LFE SL SR"),
    "MPEG 5.1 B": (122 << 16 | 6, "FL FR SL SR FC LFE"),
    "MPEG 5.1 C": (123 << 16 | 6, "FL FC FR SL SR LFE"),
    "MPEG 5.1 D": (124 << 16 | 6, "FC FL FR SL SR LFE"),
    "MPEG 6.1 A": (125 << 16 | 7, "FL FR FC LFE SL SR BC"),
    "MPEG 3.0 B": (114 << 16 | 3, "FC FL FR"),
}
# What each channel adds to mono before normalization, as `ffmpeg -ac 1` mixes it (libswresample/rematrix.c)
WEIGHTS = {"FL": 1, "FR": 1, "FC": 2**0.5, "LFE": 0, "SL": 0.5**0.5, "SR": 0.5**0.5, "BC": 0.5**0.5}


def render_channels(num_channels: int, seconds: int = 10) -> np.ndarray:
    """Return int16 (samples, channels), a tone of another pitch per channel."""
    time = np.arange(seconds * RATE) / RATE
    tones = [0.3 * np.sin(2 * np.pi * (300 + 110 * number) * time) for number in range(num_channels)]
    return np.round(np.stack(tones, 1) * 32767).astype(np.int16)


def write_sound(path: Path, codec: str, data: np.ndarray, layout: str) -> Path:
    """Write ten pictures, and (samples, channels) as a packet of uncompressed sound per second."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=1)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = output.add_stream(codec, rate=RATE, layout=layout)
        output.start_encoding()
        for second in range(10):
            frame = av.VideoFrame.from_ndarray(video_files.render_frame(second, 96, 64), format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1)
            output.mux(video.encode(frame))
            packet = av.Packet(data[second * RATE : (second + 1) * RATE].tobytes())
            packet.stream, packet.time_base = sound, Fraction(1, RATE)
            packet.pts = packet.dts = second * RATE
            packet.duration = RATE
            output.mux(packet)
        output.mux(video.encode())
    return path


def set_quicktime_layout(path: Path, tag: int) -> Path:
    data = bytearray(path.read_bytes())
    offset = data.index(b"chan") + 8  # after type, version, and flags
    data[offset : offset + 4] = tag.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def decode_in_processes(paths: list[Path]) -> list:
    """Decode in sandboxed processes, as curate does."""
    with decode_jobs.make_pool(PARAMS, 1, media.decode) as pool:
        return list(pool.map([str(path) for path in paths]))


@pytest.mark.parametrize("name", QUICKTIME_ORDERS)
def test_quicktime_channel_orders_are_mixed_by_the_place_of_each_channel(tmp_path, name):
    tag, order = QUICKTIME_ORDERS[name]
    names = order.split()
    data = render_channels(len(names))
    native = {3: "3.0", 6: "5.1", 7: "6.1"}[len(names)]
    path = set_quicktime_layout(write_sound(tmp_path / "a.mov", "pcm_s16le", data, native), tag)
    first, second, third = decode_in_processes([path] * 3)
    assert isinstance(first, media.DecodedClip), first
    assert np.array_equal(first.audio, second.audio) and np.array_equal(first.audio, third.audio)
    weights = np.array([WEIGHTS[channel] for channel in names])
    expected = data @ (weights / weights.sum())
    assert np.abs(first.audio[200:-200] - expected[200:-200]).max() < 40


@pytest.mark.parametrize("extension", ["mov", "mkv", "nut"])
def test_nine_discrete_channels_are_averaged(tmp_path, extension):
    data = render_channels(9)
    (clip,) = decode_in_processes([write_sound(tmp_path / f"a.{extension}", "pcm_s16le", data, "9 channels")])
    assert isinstance(clip, media.DecodedClip), clip
    assert np.abs(clip.audio - data.mean(1)).max() <= 1


def write_encoded_sound(path: Path, codec: str, num_channels: int, layout: str, options: dict[str, str]) -> Path:
    """Write ten pictures, and a tone of another pitch per channel."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=1)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = output.add_stream(codec, rate=48000, layout=layout)
        sound.options = options
        output.start_encoding()
        for second in range(10):
            frame = av.VideoFrame.from_ndarray(video_files.render_frame(second, 96, 64), format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1)
            output.mux(video.encode(frame))
        output.mux(video.encode())
        time = np.arange(480000) / 48000
        tones = [0.3 * np.sin(2 * np.pi * (300 + 110 * number) * time) for number in range(num_channels)]
        packed = np.stack(tones, 1).astype(np.float32).reshape(1, -1)
        block_size = sound.codec_context.frame_size
        for start in range(0, 480000, block_size):
            block = packed[:, start * num_channels : (start + block_size) * num_channels]
            frame = av.AudioFrame.from_ndarray(block, "flt", layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            output.mux(sound.encode(frame))
        output.mux(sound.encode())
    return path


def measure_tones(clip: media.DecodedClip, num_channels: int) -> list[float]:
    """Return the amplitude of each channel's tone in a decoded clip."""
    spectrum = np.abs(np.fft.rfft(clip.audio)) / len(clip.audio) * 2 / 32768  # 0.1 Hz per bin
    return [spectrum[(300 + 110 * n) * 10 - 10 : (300 + 110 * n) * 10 + 10].max() for n in range(num_channels)]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "libopus")])
def test_eight_planar_channels_are_mixed(tmp_path, name, codec):
    (clip,) = decode_in_processes([write_encoded_sound(tmp_path / name, codec, 8, "7.1", {"b": "600k"})])
    assert isinstance(clip, media.DecodedClip), clip
    left, right, center, bass, *surround = measure_tones(clip, 8)
    assert center > 1.2 * left and center > 1.2 * right and bass < 0.01
    assert max(surround) < 0.9 * min(left, right) and min(surround) > 0.5 * max(left, right)


def write_ambisonics(path: Path, num_channels: int) -> Path:
    """Write Opus of discrete channels, then declare them as ambisonics (RFC 8486, channel mapping family 2)."""
    options = {"mapping_family": "255", "b": "600k"}
    write_encoded_sound(path, "libopus", num_channels, f"{num_channels} channels", options)
    data = bytearray(path.read_bytes())
    data[data.index(b"OpusHead") + 18] = 2
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("num_channels", "amplitude"), [(4, 0.3), (6, 0.15)])
def test_the_omnidirectional_channel_of_ambisonics_is_taken(tmp_path, num_channels, amplitude):
    (clip,) = decode_in_processes([write_ambisonics(tmp_path / "a.mkv", num_channels)])
    assert isinstance(clip, media.DecodedClip), clip
    omnidirectional, *others = measure_tones(clip, num_channels)
    assert omnidirectional == pytest.approx(amplitude, rel=0.1)
    assert max(others[:3]) < 0.02
    assert num_channels == 4 or min(others[3:]) > 0.05  # a stereo track beside the sound field


@pytest.mark.parametrize("layout", ["BL+BR", "FL+LFE", "SL+SR", "FR+BC"])
def test_channels_that_libswresample_cannot_mix_are_averaged(tmp_path, layout):
    """QuickTime's channel labels 1 to 18 are the bits of libav's masks, plus one."""
    data = render_channels(2)
    path = write_sound(tmp_path / "a.mov", "pcm_s16le", data, "stereo")
    bits = [["FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"].index(n) for n in layout.split("+")]
    content = bytearray(path.read_bytes())
    offset = content.index(b"chan") + 8
    content[offset : offset + 8] = (1 << 16).to_bytes(4, "big") + sum(1 << bit for bit in bits).to_bytes(4, "big")
    path.write_bytes(content)  # kCAFChannelLayoutTag_UseChannelBitmap
    (clip,) = decode_in_processes([path])
    assert isinstance(clip, media.DecodedClip), clip
    assert np.abs(clip.audio - data.mean(1)).max() <= 1


SAMPLE_FORMATS = {
    "pcm_u8": ("u1", lambda x: np.round(x * 127 + 128)),
    "pcm_s32le": ("<i4", lambda x: np.round(x * (2**31 - 1))),
    "pcm_s64le": ("<i8", lambda x: np.round(x * 2.0**62)),
    "pcm_f32le": ("<f4", lambda x: x),
    "pcm_f64le": ("<f8", lambda x: x),
}


@pytest.mark.parametrize("codec", SAMPLE_FORMATS)
def test_every_sample_format_is_decoded(tmp_path, codec):
    wave = render_channels(2) / 32768
    dtype, convert = SAMPLE_FORMATS[codec]
    path = write_sound(tmp_path / "a.nut", codec, convert(wave).astype(dtype), "stereo")
    expected = np.round(wave.mean(1) * (16384 if codec == "pcm_s64le" else 32767))
    assert np.abs(media.decode(path, **PARAMS).audio - expected).max() <= (260 if codec == "pcm_u8" else 3)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_samples_are_those_of_pyav_where_it_has_no_fault(tmp_path, layout):
    path = video_files.write_clip(tmp_path / "a.mkv", layout=layout, sample_rate=48000)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert np.array_equal(channels.read_samples(frame), frame.to_ndarray())
