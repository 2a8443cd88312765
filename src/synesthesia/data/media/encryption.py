"""Detect encrypted media, which libav reads as damaged: asked only of files that cannot be decoded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

_HEAD_BYTES = 1 << 18
_MAX_INDEX_BYTES = 1 << 26
_ASF_ENCRYPTION_OBJECTS = (  # Content Encryption Object and Extended Content Encryption Object
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_MATROSKA_ENCRYPTION = re.compile(rb"\x6d\x80.{1,8}\x62\x40.{1,40}\x50\x35", re.DOTALL)  # ContentEncryption
_TS_PACKET_BYTES = 188


def is_encrypted(path: Path) -> bool:
    """Tell whether a file declares that its streams are encrypted.

    Args:
        path: A file of any container.

    Returns:
        True for MP4 with a protection scheme (Common Encryption, FairPlay), WebM encryption, a scrambled transport
        stream, and ASF with DRM.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[4:8] in (b"ftyp", b"moov", b"styp", b"free", b"mdat", b"wide", b"skip"):
            return b"sinf" in _read_movie_box(file)  # Protection Scheme Information (ISO/IEC 14496-12, 8.12.1)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _MATROSKA_ENCRYPTION.search(head) is not None
    if head[:1] == b"\x47" and head[_TS_PACKET_BYTES : _TS_PACKET_BYTES + 1] == b"\x47":
        controls = head[3::_TS_PACKET_BYTES]
        return sum(control >> 6 >= 2 for control in controls) > len(controls) // 2
    return any(guid in head for guid in _ASF_ENCRYPTION_OBJECTS)


def _read_movie_box(file: BinaryIO) -> bytes:
    """Return the content of an MP4's `moov`, empty if there is none."""
    offset = 0
    while True:
        file.seek(offset)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if kind == b"moov":
            file.seek(offset)
            return file.read(min(size or _MAX_INDEX_BYTES, _MAX_INDEX_BYTES))
        if size < 8:
            return b""
        offset += size
