"""What is wrong with a file, in a dozen words that can be counted, and in detail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import av

LIBAV_ERRORS = (av.FFmpegError, ValueError, EOFError)
_ENVIRONMENT_ERRORS = (errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO)
_RIFF_MATROSKA_MAGIC = (b"RIFF", b"\x1aE\xdf\xa3")
_MP4_BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp")


class MediaError(Exception):
    """A file that gives no clip: `reason` is one of a dozen short classes, `detail` what was found."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def check_file(path: Path) -> None:
    """Raise MediaError for what need not be opened."""
    if not path.exists():
        raise MediaError("absent", "there is no such file")
    if not path.is_file():
        raise MediaError("not a media file", "not a plain file")
    if not path.stat().st_size:
        raise MediaError("empty file", "0 bytes")


def to_media_error(path: Path, error: Exception) -> MediaError:
    """The MediaError for what libav says while a file is opened or read."""
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS:
        return MediaError("unreadable", os.strerror(error.errno))
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return MediaError("too large", "needs more memory than a file may have")
    with open(path, "rb") as file:
        head = file.read(12)
    if isinstance(error, av.error.ArgumentError):  # not on reading.CONTAINERS
        return MediaError("not a media file", "no container of sound and pictures")
    begun = head[4:8] in _MP4_BOX_TYPES or head[:4] in _RIFF_MATROSKA_MAGIC
    return MediaError("truncated" if begun else "not a media file", f"libav: {error_message(error)}")


def error_message(error: Exception) -> str:
    """Libav's own words for an error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
