"""Files that are refused for what they are: encrypted, too narrow for vision models, or not decodable."""

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.tools import video_files
from synesthesia.data import media
from synesthesia.data.media import encryption, errors, images

pytestmark = pytest.mark.slow  # writes and decodes real files

PARAMS = video_files.DECODE_PARAMS
ENCRYPTION = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def reject(path: Path, **changes) -> tuple[str, str]:
    with pytest.raises(media.MediaError) as error:
        media.decode(path, **{**PARAMS, **changes})
    return error.value.reason, error.value.detail


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_common_encryption_is_named(tmp_path, movflags):
    options = ENCRYPTION | ({"movflags": movflags} if movflags else {})
    path = video_files.write_clip(tmp_path / "a.mp4", fps=3, container_options=options)
    assert reject(path)[0] == "encrypted"


def test_fairplay_is_named(tmp_path):
    """A FairPlay file has an entry of type `drms` with a box `sinf`; the samples are noise."""
    data = bytearray(video_files.write_clip(tmp_path / "a.mp4", fps=3).read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    offset = data.index(b"esds")
    data[offset : offset + 4] = b"sinf"
    (tmp_path / "b.mp4").write_bytes(data)
    assert reject(tmp_path / "b.mp4")[0] == "encrypted"
    data[offset : offset + 4] = b"esds"
    (tmp_path / "c.mp4").write_bytes(data)
    assert reject(tmp_path / "c.mp4")[0] != "encrypted"


def test_scrambled_transport_stream_is_named(tmp_path):
    intact = video_files.write_clip(tmp_path / "a.ts", video="mpeg2video", audio="mp2", options={}, fps=25)
    assert not encryption.is_encrypted(intact)
    data = np.frombuffer(intact.read_bytes(), np.uint8).reshape(-1, 188).copy()
    tables = (data[:, 1] & 0x1F == 0) & (data[:, 2] < 32)
    data[~tables, 3] |= 0x80
    data[~tables, 4:] = np.random.default_rng(0).integers(0, 256, data[~tables, 4:].shape)
    (tmp_path / "b.ts").write_bytes(data.tobytes())
    assert reject(tmp_path / "b.ts")[0] == "encrypted"


def test_encrypted_webm_and_asf_are_detected(tmp_path):
    intact = video_files.write_clip(tmp_path / "a.mkv", fps=3)
    assert not encryption.is_encrypted(intact)
    content_encoding = bytes.fromhex("50318100503281015033810150358c47e1810547e285") + b"key-0"
    encodings = b"\x62\x40" + bytes([0x80 | len(content_encoding)]) + content_encoding
    encodings = b"\x6d\x80" + bytes([0x80 | len(encodings)]) + encodings
    data = intact.read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[:400] + encodings + data[400:])
    assert encryption.is_encrypted(tmp_path / "b.mkv")
    guid = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    (tmp_path / "a.wmv").write_bytes(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(20) + guid + bytes(100))
    assert encryption.is_encrypted(tmp_path / "a.wmv")


@pytest.mark.parametrize("size", [(1920, 8), (8, 1920), (1500, 2)])
def test_pictures_that_vision_models_refuse_are_rejected(tmp_path, size):
    options = {"preset": "ultrafast", "crf": "28"}
    path = video_files.write_clip(tmp_path / "a.mp4", size=size, fps=1, bframes=0, options=options)
    reason, detail = reject(path)
    assert reason == "extreme aspect ratio" and f"frames of {size[0]} x {size[1]} pixels become" in detail


def test_the_widest_picture_that_vision_models_accept_is_kept(tmp_path):
    widest = video_files.write_clip(tmp_path / "a.mp4", size=(800, 4), fps=1, bframes=0)
    clip = media.decode(widest, **PARAMS)
    assert clip.size == (800, 4) and max(clip.size) == images.MAX_ASPECT_RATIO * min(clip.size)


def test_an_error_after_opening_is_not_about_the_kind_of_file(tmp_path):
    path = video_files.write_clip(tmp_path / "a.ts", fps=3)
    for error in (ValueError("no such format"), av.error.ArgumentError(22, "Invalid argument")):
        assert errors.to_media_error(path, error, is_open=True).reason == "undecodable"
    invalid = av.error.InvalidDataError(1094995529, "Invalid data")
    assert errors.to_media_error(path, invalid, is_open=True).reason == "undecodable"
    assert errors.to_media_error(path, invalid, is_open=False).reason == "not a media file"
