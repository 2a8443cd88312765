"""Damaged and hostile files through the curate stage and the decoder: put aside with the reason, never in the way."""

import io
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from synesthesia import config, schemas
from synesthesia.data import media
from synesthesia.data.media import container
from synesthesia.pipeline import curate
from synesthesia.utils import sandboxed_pool
from tests.helpers import video_files
from tests.helpers.corrupted_files import mutants

pytestmark = pytest.mark.slow  # hundreds of real files: seconds each

ROOT = Path(__file__).parents[2]
REASONS = {
    "empty file", "not a media file", "no audio stream", "no video stream", "too short", "truncated", "too large",
    "undecodable", "timed out or crashed",
}  # fmt: skip


def attempt(path: str) -> str:
    try:
        media.decode(path, **video_files.PARAMS)
        return "whole"
    except media.MediaError as error:
        return error.reason


def reason(path, **changes) -> tuple[str, str]:
    with pytest.raises(media.MediaError) as caught:
        media.decode(path, **{**video_files.PARAMS, **changes})
    return caught.value.reason, caught.value.detail


def still(path: Path, codec: str, width: int, height: int) -> Path:
    """Ten seconds of silence and one grey picture a second."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "JPEG", quality=50)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        out.start_encoding()
        for second in range(10):
            for to, data in ((stream, buffer.getvalue()), (sound, bytes(32000))):
                packet = av.Packet(data)
                packet.stream, packet.time_base = to, Fraction(1)
                packet.pts = packet.dts = second
                packet.duration = 1
                out.mux(packet)
    return path


def test_two_hundred_damaged_files_cost_curate_none_of_the_good_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/vggsound"
    folder.mkdir(parents=True)
    whole = video_files.make(tmp_path / "whole.mp4", size=(64, 48), fps=3, rate=8000)
    lines, sizes, good = [], {}, set()
    for number in range(10):
        for take in range(6):
            good.add(f"good{number}-{take}_000000")
            os.link(whole, folder / f"good{number}-{take}_000000.mp4")
            lines.append(f"good{number}-{take},0,label {number},{'test' if take == 5 else 'train'}")
    for number, (kind, data) in enumerate(mutants(whole.read_bytes(), 200)):
        name = f"bad{number}-{kind}_000000"
        (folder / f"{name}.mp4").write_bytes(data)
        sizes[name] = len(data)
        lines.append(f"bad{number}-{kind},0,label {number % 10},test")
    Path("data/vggsound.csv").write_text("\n".join(lines))
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["data"] |= dict.fromkeys(("audioset_list", "audioset_labels", "audioset_clips"))
    values["curate"] |= {"analysis_clips_per_label": 1}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    curate.run(config.parse(values), workers=2)
    kept = {row["clip_id"] for row in schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()}
    aside = schemas.read("out/curate/rejected.parquet", schemas.REJECTED).to_pylist()
    assert good <= kept
    assert {row["clip_id"] for row in aside} == set(sizes) - kept and len(aside) > 100
    for row in aside:
        assert row["file"] == f"vggsound/{row['clip_id']}.mp4" and row["bytes"] == sizes[row["clip_id"]]
        assert row["reason"] in REASONS and row["detail"]


def test_good_files_of_other_containers_stay_good_among_damaged_ones(tmp_path):
    order = []
    for name in ("a.mkv", "a.webm", "a.ts", "a.avi"):
        other = {"video": "libvpx", "audio": "libopus", "rate": 48000, "options": {"deadline": "realtime"}}
        good = video_files.make(tmp_path / name, fps=3, **(other if name == "a.webm" else {}))
        rng = np.random.default_rng(0)
        for number in range(6):
            data = bytearray(good.read_bytes())
            for place in rng.integers(0, len(data) if number % 2 else 1500, 20):
                data[place] = rng.integers(256)
            bad = tmp_path / f"{number}-{name}"
            bad.write_bytes(data[: len(data) * (number + 1) // 6])
            order += [str(bad), str(good)]
    with sandboxed_pool.SandboxedPool(attempt, 2, timeout=20, memory_bytes=2 << 30) as pool:
        answers = list(pool.map(order))
    assert set(answers[1::2]) == {"whole"}
    told = {answer if isinstance(answer, str) else "timed out or crashed" for answer in answers[::2]}
    assert told <= REASONS | {"whole"} and len(told) >= 3


def test_a_playlist_reads_no_other_file(tmp_path):
    video_files.make(tmp_path / "good.mp4", fps=3)
    shutil.copy(tmp_path / "good.mp4", tmp_path / "good.ts")
    lists = {
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ngood.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": "ffconcat version 1.0\nfile good.mp4\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        assert reason(tmp_path / name)[0] == "not a media file"


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(video_files.make("a.mp4", fps=3), "http:a.mp4")
    assert len(media.decode("http:a.mp4", **video_files.PARAMS).jpegs) == 10


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = video_files.make(tmp_path / "a.mp4", fps=3)
    monkeypatch.setattr(container, "MAX_FRAME_PIXELS", 96 * 64 - 1)
    assert reason(path) == ("too large", "pictures of 96 x 64 pixels")
    monkeypatch.undo()
    bomb = still(tmp_path / "bomb.avi", "mjpeg", 16000, 16000)
    assert reason(bomb) == ("undecodable", "not one frame")  # the decoder itself refuses each of them


def test_sound_of_hundreds_of_channels_and_a_billion_frames_a_second_are_refused(tmp_path, monkeypatch):
    path = video_files.make(tmp_path / "a.mkv", fps=30)
    monkeypatch.setattr(container, "MAX_PACKETS", 100)
    assert reason(path)[0] == "too large" and "video of more than 100 packets" in reason(path)[1]
    monkeypatch.undo()
    monkeypatch.setattr(container, "MAX_STREAM_BYTES", 5000)
    assert reason(path)[0] == "too large"
    monkeypatch.undo()
    wide = bytearray(video_files.make(tmp_path / "b.mkv", fps=3, audio="pcm_s16le", rate=16000).read_bytes())
    place = wide.index(b"\x9f\x81\x01")  # Matroska's Channels: one
    wide[place + 2] = 200
    (tmp_path / "b.mkv").write_bytes(wide)
    assert reason(tmp_path / "b.mkv") == ("too large", "sound of 200 channels at 16000 Hz")


def test_eight_thousand_pixels_wide_is_still_a_clip(tmp_path):
    path = still(tmp_path / "a.mkv", "mjpeg", 7680, 4320)
    clip = media.decode(path, **{**video_files.PARAMS, "max_pixels": 262144})
    assert clip.size == (682, 384) and len(clip.jpegs) == 10
