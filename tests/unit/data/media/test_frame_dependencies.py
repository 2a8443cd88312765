"""Selective decoding equals full decoding bit for bit, across encoder settings, codecs, and containers."""

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.tools import video_files
from synesthesia.data.media import container, frames
from synesthesia.data.media.frame_dependencies import UNKNOWN, PacketInfo, find_required_packets, parse_packet_infos

pytestmark = pytest.mark.slow  # writes and decodes real files of every codec
TARGET_TIMES = [float(k) for k in range(10)]
X264 = st.fixed_dictionaries(
    {
        "bframes": st.integers(0, 4),
        "b-pyramid": st.sampled_from(["none", "strict", "normal"]),
        "b-adapt": st.integers(0, 2),
        "ref": st.integers(1, 5),
        "open-gop": st.integers(0, 1),
        "weightp": st.integers(0, 2),
        "weightb": st.integers(0, 1),
        "keyint": st.integers(3, 160),
        "min-keyint": st.just(2),
        "scenecut": st.sampled_from([0, 40]),
        "slices": st.integers(1, 3),
        "direct": st.sampled_from(["spatial", "temporal", "auto"]),
        "intra-refresh": st.sampled_from([0, 0, 0, 1]),
        "tff": st.sampled_from([0, 0, 1]),
    }
)


REALTIME = {"deadline": "realtime", "cpu-used": "8"}


def x265(params: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": f"log-level=none:pools=none:{params}"}


def decode_selected(path) -> tuple[dict[int, np.ndarray], int, int]:
    """Return the selected frames' planes by timestamp, the number of decoded packets, and that of all packets."""
    with container.open_container(path) as input_container:
        video, _ = container.read_packets(input_container, 10.0)
        timestamps = set(frames.select_timestamps(video, TARGET_TIMES, 10.0))
        decoded = frames._decode_selected(video, timestamps)
        assert decoded is not None and set(decoded) == timestamps, "selective decoding failed"
        planes = {timestamp: frame.to_ndarray() for timestamp, frame in decoded.items()}
        return planes, len(frames.select_packets(video, timestamps)), len(video.packets)


def assert_equals_full_decoding(path) -> tuple[int, int]:
    """Compare selected frames with a full decoding; return the number of decoded packets and that of all packets."""
    with av.open(str(path)) as input_container:
        expected = {frame.pts: frame.to_ndarray() for frame in input_container.decode(video=0)}
    planes, num_decoded, num_packets = decode_selected(path)
    for timestamp, plane in planes.items():
        np.testing.assert_array_equal(plane, expected[timestamp])
    return num_decoded, num_packets


@settings(max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
@given(options=X264, fps=st.sampled_from([12, 15, 30]), extension=st.sampled_from(["mp4", "mkv", "ts"]))
def test_h264_with_any_settings(tmp_path_factory, options, fps, extension):
    path = tmp_path_factory.mktemp("x264") / f"a.{extension}"
    options["repeat-headers"] = int(extension == "ts")  # a transport stream has no other place for parameter sets
    x264 = ":".join(f"{key}={value}" for key, value in options.items())
    encoder = {"preset": "superfast", "crf": "30", "x264-params": f"threads=1:{x264}"}
    video_files.write_clip(
        path, size=(64, 48), fps=fps, gop=options["keyint"], bframes=options["bframes"], options=encoder
    )
    num_decoded, num_packets = assert_equals_full_decoding(path)
    if not (extension == "ts" and options["intra-refresh"]):  # parameter sets in every packet: all are decoded
        assert num_decoded <= num_packets - fps // 2, "not even the tail was skipped"


@pytest.mark.parametrize(
    ("name", "codec", "options", "max_fraction"),
    [
        ("b-frames.mp4", "libx264", {"x264-params": "bframes=3:b-adapt=0:keyint=40:threads=1"}, 0.55),
        ("hevc.mp4", "libx265", x265("keyint=40"), 0.75),
        ("open groups.mkv", "libx265", x265("keyint=25:open-gop=1"), 0.95),
        ("temporal layers.mkv", "libx265", x265("temporal-layers=2:b-adapt=0:bframes=3"), 0.95),
        ("vp8.webm", "libvpx", REALTIME, 0.95),
        ("vp9.webm", "libvpx-vp9", {**REALTIME, "auto-alt-ref": "1", "lag-in-frames": "9"}, 0.95),
        ("av1.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, 0.95),
    ],
)  # fmt: skip
def test_codecs_with_groups_skip_packets(tmp_path, name, codec, options, max_fraction):
    audio = {"audio": "libopus", "sample_rate": 48000} if name.endswith("webm") else {}
    path = video_files.write_clip(tmp_path / name, video=codec, fps=12, gop=27, bframes=3, options=options, **audio)
    num_decoded, num_packets = assert_equals_full_decoding(path)
    assert num_decoded <= max_fraction * num_packets, (num_decoded, num_packets)


def test_groups_without_a_selected_frame_are_skipped(tmp_path):
    options = {"x264-params": "keyint=4:min-keyint=4:scenecut=0:bframes=0:threads=1"}
    path = video_files.write_clip(tmp_path / "a.mp4", fps=12, gop=4, bframes=0, options=options)
    assert assert_equals_full_decoding(path) == (10, 120)  # each second begins a group


PACKET_INFOS = st.lists(
    st.builds(PacketInfo, st.booleans(), st.booleans(), st.sampled_from([False] * 5 + [True]), st.integers(0, 2)),
    max_size=40,
)


@given(PACKET_INFOS, st.data())
def test_required_packets_are_the_targets_and_their_possible_references(infos, data):
    is_target = data.draw(st.lists(st.booleans(), min_size=len(infos), max_size=len(infos)))
    required = find_required_packets(infos, is_target)
    top_layer = max((info.temporal_layer for info in infos), default=0)
    for n, info in enumerate(infos):
        later = range(n, len(infos))
        group = [m for m in later if m == n or not any(infos[k].is_random_access for k in range(n + 1, m + 1))]
        is_needed_later = any(is_target[m] or infos[m].must_decode for m in group)
        is_referenced = not (info.is_disposable and info.temporal_layer == top_layer)
        assert required[n] == (is_target[n] or (is_referenced and is_needed_later))


@given(
    st.sampled_from(["h264", "hevc", "vp8", "vp9", "av1", "mpeg4"]),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=60)),
)
def test_any_bytes_have_a_packet_info(codec, extradata, packets):
    assert all(isinstance(info, PacketInfo) for info in parse_packet_infos(packets, codec, extradata))


def test_packets_that_cannot_be_parsed_are_decoded():
    assert parse_packet_infos([b"", b"\0\0\1"], "h264", None) == [UNKNOWN, UNKNOWN]
    assert parse_packet_infos([b"\0\0\0\x09ab"], "h264", b"\1\0\0\0\3") == [UNKNOWN]
    assert parse_packet_infos([b"x"], "mpeg4", None) == [UNKNOWN]
    disposable, idr, parameter_set = b"\0\0\1\x01ab", b"\0\0\1\x65ab", b"\0\0\1\x67ab\0\0\1\x01ab"
    assert parse_packet_infos([disposable, idr, parameter_set], "h264", None) == [
        PacketInfo(is_disposable=True),
        PacketInfo(is_random_access=True),
        PacketInfo(must_decode=True),
    ]
