"""Reasons why a file is rejected: a dozen short classes that can be counted, each with details."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from av.error import ArgumentError, FFmpegError, InvalidDataError

LIBAV_ERRORS = (FFmpegError, ValueError, EOFError)
_ENVIRONMENT_ERRORS = (errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO)
_RIFF_MATROSKA_MAGIC = (b"RIFF", b"\x1aE\xdf\xa3")
_MP4_BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp")


class MediaError(Exception):
    """Raised when a file yields no clip.

    Attributes:
        reason: One of a dozen short classes; `media.decode` lists them.
        detail: What was found in this file.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def check_file(path: Path) -> None:
    """Reject a file that need not be opened.

    Args:
        path: The file.

    Raises:
        MediaError: The file is absent, empty, or not a regular file.
    """
    if not path.exists():
        raise MediaError("absent", "there is no such file")
    if not path.is_file():
        raise MediaError("not a media file", "not a regular file")
    if not path.stat().st_size:
        raise MediaError("empty file", "0 bytes")


def to_media_error(path: Path, error: Exception, is_open: bool) -> MediaError:
    """Convert an error of libav.

    Args:
        path: The file that was opened or read.
        error: The error.
        is_open: Whether the file was opened before, as a container that libav knows.

    Returns:
        The corresponding MediaError.
    """
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS:
        return MediaError("unreadable", os.strerror(error.errno))
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return MediaError("too large", "needs more memory than the limit per file")
    with open(path, "rb") as file:
        head = file.read(12)
    if is_open and not isinstance(error, InvalidDataError | EOFError):
        return MediaError("undecodable", f"libav: {error_message(error)}")
    if isinstance(error, ArgumentError):  # not in container.CONTAINER_FORMATS
        return MediaError("not a media file", "not a container of audio and video")
    has_signature = head[4:8] in _MP4_BOX_TYPES or head[:4] in _RIFF_MATROSKA_MAGIC
    other_reason = "undecodable" if is_open else "not a media file"
    return MediaError("truncated" if has_signature else other_reason, f"libav: {error_message(error)}")


def error_message(error: Exception) -> str:
    """Return the message of a libav error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
