"""Corrupted and malicious files in the curate stage and the decoder: rejected with a reason, without side effects."""

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

from benchmarks.tools import video_files
from benchmarks.tools.file_corruption import corrupt_copies
from synesthesia import config, schemas
from synesthesia.data import media
from synesthesia.data.media import container
from synesthesia.pipeline import curate
from synesthesia.utils import sandboxed_pool

pytestmark = pytest.mark.slow  # decodes hundreds of real files

ROOT = Path(__file__).parents[2]
REASONS = {
    "empty file", "not a media file", "no audio stream", "no video stream", "too short", "truncated", "too large",
    "undecodable", "timed out or crashed",
}  # fmt: skip


def try_decode(path: str) -> str:
    """Return "decoded" or the reason of rejection."""
    try:
        media.decode(path, **video_files.DECODE_PARAMS)
        return "decoded"
    except media.MediaError as error:
        return error.reason


def reject(path, **changes) -> tuple[str, str]:
    """Return reason and detail of the rejection."""
    with pytest.raises(media.MediaError) as error:
        media.decode(path, **{**video_files.DECODE_PARAMS, **changes})
    return error.value.reason, error.value.detail


def write_still_video(path: Path, codec: str, width: int, height: int) -> Path:
    """Write ten seconds of silence and one gray frame per second."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "JPEG", quality=50)
    with av.open(str(path), "w") as output:
        video_stream = output.add_stream(codec, rate=1)
        video_stream.width, video_stream.height, video_stream.pix_fmt = width, height, "yuvj420p"
        audio_stream = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        output.start_encoding()
        for second in range(10):
            for stream, data in ((video_stream, buffer.getvalue()), (audio_stream, bytes(32000))):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1)
                packet.pts = packet.dts = second
                packet.duration = 1
                output.mux(packet)
    return path


def test_curate_keeps_all_intact_files_among_two_hundred_corrupted_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/vggsound"
    folder.mkdir(parents=True)
    intact = video_files.write_clip(tmp_path / "intact.mp4", size=(64, 48), fps=3, sample_rate=8000)
    lines, sizes, intact_clips = [], {}, set()
    for number in range(10):
        for take in range(6):
            intact_clips.add(f"intact{number}-{take}_000000")
            os.link(intact, folder / f"intact{number}-{take}_000000.mp4")
            lines.append(f"intact{number}-{take},0,label {number},{'test' if take == 5 else 'train'}")
    for number, (kind, data) in enumerate(corrupt_copies(intact.read_bytes(), 200)):
        name = f"corrupted{number}-{kind}_000000"
        (folder / f"{name}.mp4").write_bytes(data)
        sizes[name] = len(data)
        lines.append(f"corrupted{number}-{kind},0,label {number % 10},test")
    Path("data/vggsound.csv").write_text("\n".join(lines))
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["data"] |= dict.fromkeys(("audioset_list", "audioset_labels", "audioset_clips"))
    values["curate"] |= {"analysis_clips_per_label": 2, "display_names": {}}
    values["train_switch"] |= {"validation_clips_per_label": 1}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    curate.run(config.parse(values), workers=2)
    usable = {row["clip_id"] for row in schemas.read("out/curate/clips.parquet", schemas.CLIP).to_pylist()}
    rejected = schemas.read("out/curate/rejected.parquet", schemas.REJECTED).to_pylist()
    assert intact_clips <= usable
    assert {row["clip_id"] for row in rejected} == set(sizes) - usable and len(rejected) > 100
    for row in rejected:
        assert row["file"] == f"vggsound/{row['clip_id']}.mp4" and row["bytes"] == sizes[row["clip_id"]]
        assert row["reason"] in REASONS and row["detail"]


def test_intact_files_of_other_containers_are_decoded_among_corrupted_ones(tmp_path):
    paths = []
    for name in ("a.mkv", "a.webm", "a.ts", "a.avi"):
        webm = {"video": "libvpx", "audio": "libopus", "sample_rate": 48000, "options": {"deadline": "realtime"}}
        intact = video_files.write_clip(tmp_path / name, fps=3, **(webm if name == "a.webm" else {}))
        rng = np.random.default_rng(0)
        for number in range(6):
            data = bytearray(intact.read_bytes())
            for offset in rng.integers(0, len(data) if number % 2 else 1500, 20):
                data[offset] = rng.integers(256)
            corrupted = tmp_path / f"{number}-{name}"
            corrupted.write_bytes(data[: len(data) * (number + 1) // 6])
            paths += [str(corrupted), str(intact)]
    with sandboxed_pool.SandboxedPool(try_decode, 2, timeout=20, memory_bytes=2 << 30) as pool:
        results = list(pool.map(paths))
    assert set(results[1::2]) == {"decoded"}
    reasons = {result if isinstance(result, str) else "timed out or crashed" for result in results[::2]}
    assert reasons <= REASONS | {"decoded"} and len(reasons) >= 3


def test_playlist_does_not_read_other_files(tmp_path):
    video_files.write_clip(tmp_path / "intact.mp4", fps=3)
    shutil.copy(tmp_path / "intact.mp4", tmp_path / "intact.ts")
    playlists = {
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nintact.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": "ffconcat version 1.0\nfile intact.mp4\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        (tmp_path / name).write_text(text)
        assert reject(tmp_path / name)[0] == "not a media file"


def test_file_name_that_looks_like_a_url_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(video_files.write_clip("a.mp4", fps=3), "http:a.mp4")
    assert len(media.decode("http:a.mp4", **video_files.DECODE_PARAMS).jpegs) == 10


def test_decompression_bomb_is_rejected_before_decoding(tmp_path, monkeypatch):
    path = video_files.write_clip(tmp_path / "a.mp4", fps=3)
    monkeypatch.setattr(container, "MAX_FRAME_PIXELS", 96 * 64 - 1)
    assert reject(path) == ("too large", "frames of 96 x 64 pixels")
    monkeypatch.undo()
    bomb = write_still_video(tmp_path / "bomb.avi", "mjpeg", 16000, 16000)
    assert reject(bomb) == ("undecodable", "no frame can be decoded")  # the decoder itself refuses each of them


def test_too_many_packets_bytes_or_channels_are_rejected(tmp_path, monkeypatch):
    path = video_files.write_clip(tmp_path / "a.mkv", fps=30)
    monkeypatch.setattr(container, "MAX_PACKETS", 100)
    assert reject(path)[0] == "too large" and "video of more than 100 packets" in reject(path)[1]
    monkeypatch.undo()
    monkeypatch.setattr(container, "MAX_STREAM_BYTES", 5000)
    assert reject(path)[0] == "too large"
    monkeypatch.undo()
    data = bytearray(
        video_files.write_clip(tmp_path / "b.mkv", fps=3, audio="pcm_s16le", sample_rate=16000).read_bytes()
    )
    offset = data.index(b"\x9f\x81\x01")  # Matroska's Channels: one
    data[offset + 2] = 200
    (tmp_path / "b.mkv").write_bytes(data)
    assert reject(tmp_path / "b.mkv") == ("too large", "audio of 200 channels at 16000 Hz")


def test_8k_video_is_decoded(tmp_path):
    path = write_still_video(tmp_path / "a.mkv", "mjpeg", 7680, 4320)
    clip = media.decode(path, **{**video_files.DECODE_PARAMS, "max_pixels": 262144})
    assert clip.size == (682, 384) and len(clip.jpegs) == 10
