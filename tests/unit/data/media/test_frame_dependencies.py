"""What is not decoded changes no bit of what is: over encoders' settings, codecs and containers."""

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthesia.data.media import container as reading
from synesthesia.data.media import frames
from synesthesia.data.media.frame_dependencies import UNKNOWN, PacketInfo, find_required_packets, parse_packet_infos
from tests.helpers import video_files

pytestmark = pytest.mark.slow  # real files of every codec are written and decoded
TARGETS = [float(k) for k in range(10)]
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


def x265(settings: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": f"log-level=none:pools=none:{settings}"}


def short_way(path) -> tuple[dict[int, np.ndarray], int, int]:
    """The chosen frames' planes by stamp, and how many packets were decoded, of how many."""
    with reading.open_container(path) as container:
        video, _ = reading.read_packets(container, 10.0)
        wanted = set(frames.select_timestamps(video, TARGETS, 10.0))
        found = frames._decode_selected(video, wanted)
        assert found is not None and set(found) == wanted, "the short way was not taken"
        planes = {stamp: frame.to_ndarray() for stamp, frame in found.items()}
        return planes, len(frames.select_packets(video, wanted)), len(video.packets)


def assert_same(path) -> tuple[int, int]:
    """The short way's frames are those of a whole decoding, bit for bit; its packets, and all."""
    with av.open(str(path)) as container:
        whole = {frame.pts: frame.to_ndarray() for frame in container.decode(video=0)}
    planes, decoded, packets = short_way(path)
    for stamp, plane in planes.items():
        np.testing.assert_array_equal(plane, whole[stamp])
    return decoded, packets


@settings(max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
@given(options=X264, fps=st.sampled_from([12, 15, 30]), ending=st.sampled_from(["mp4", "mkv", "ts"]))
def test_h264_of_any_settings(tmp_path_factory, options, fps, ending):
    path = tmp_path_factory.mktemp("x264") / f"a.{ending}"
    options["repeat-headers"] = int(ending == "ts")  # a transport stream has no other place for parameter sets
    x264 = ":".join(f"{key}={value}" for key, value in options.items())
    encoder = {"preset": "superfast", "crf": "30", "x264-params": f"threads=1:{x264}"}
    video_files.make(path, size=(64, 48), fps=fps, gop=options["keyint"], bframes=options["bframes"], options=encoder)
    decoded, packets = assert_same(path)
    if not (ending == "ts" and options["intra-refresh"]):  # parameter sets everywhere: all of it is decoded
        assert decoded <= packets - fps // 2, "not even the tail was left out"


@pytest.mark.parametrize(
    ("name", "codec", "options", "most"),
    [
        ("b-frames.mp4", "libx264", {"x264-params": "bframes=3:b-adapt=0:keyint=40:threads=1"}, 0.55),
        ("hevc.mp4", "libx265", x265("keyint=40"), 0.75),
        ("open groups.mkv", "libx265", x265("keyint=25:open-gop=1"), 0.95),
        ("layers.mkv", "libx265", x265("temporal-layers=2:b-adapt=0:bframes=3"), 0.95),
        ("vp8.webm", "libvpx", REALTIME, 0.95),
        ("vp9.webm", "libvpx-vp9", {**REALTIME, "auto-alt-ref": "1", "lag-in-frames": "9"}, 0.95),
        ("av1.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, 0.95),
    ],
)  # fmt: skip
def test_codecs_with_groups_leave_out_what_nobody_needs(tmp_path, name, codec, options, most):
    sound = {"audio": "libopus", "rate": 48000} if name.endswith("webm") else {}
    path = video_files.make(tmp_path / name, video=codec, fps=12, gop=27, bframes=3, options=options, **sound)
    decoded, packets = assert_same(path)
    assert decoded <= most * packets, (decoded, packets)


def test_groups_without_a_chosen_frame_are_not_begun(tmp_path):
    options = {"x264-params": "keyint=4:min-keyint=4:scenecut=0:bframes=0:threads=1"}
    path = video_files.make(tmp_path / "a.mp4", fps=12, gop=4, bframes=0, options=options)
    assert assert_same(path) == (10, 120)  # each second begins a group


ROLES = st.lists(
    st.builds(PacketInfo, st.booleans(), st.booleans(), st.sampled_from([False] * 5 + [True]), st.integers(0, 2)),
    max_size=40,
)


@given(ROLES, st.data())
def test_kept_is_what_is_wanted_and_what_it_may_refer_to_and_no_more(each, data):
    wanted = data.draw(st.lists(st.booleans(), min_size=len(each), max_size=len(each)))
    keep = find_required_packets(each, wanted)
    top = max((role.layer for role in each), default=0)
    for n, role in enumerate(each):
        behind = range(n, len(each))
        group = [m for m in behind if m == n or not any(each[k].restarts for k in range(n + 1, m + 1))]
        asked_for = any(wanted[m] or each[m].holds for m in group)
        referred = not (role.spare and role.layer == top)
        assert keep[n] == (wanted[n] or (referred and asked_for))


@given(
    st.sampled_from(["h264", "hevc", "vp8", "vp9", "av1", "mpeg4"]),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=60)),
)
def test_any_bytes_have_a_role(codec, extradata, packets):
    assert all(isinstance(role, PacketInfo) for role in parse_packet_infos(packets, codec, extradata))


def test_what_is_not_understood_is_decoded():
    assert parse_packet_infos([b"", b"\0\0\1"], "h264", None) == [UNKNOWN, UNKNOWN]
    assert parse_packet_infos([b"\0\0\0\x09ab"], "h264", b"\1\0\0\0\3") == [UNKNOWN]
    assert parse_packet_infos([b"x"], "mpeg4", None) == [UNKNOWN]
    spare, idr, parameters = b"\0\0\1\x01ab", b"\0\0\1\x65ab", b"\0\0\1\x67ab\0\0\1\x01ab"
    assert parse_packet_infos([spare, idr, parameters], "h264", None) == [
        PacketInfo(is_disposable=True),
        PacketInfo(is_random_access=True),
        PacketInfo(must_decode=True),
    ]
