"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["FileLock", "Timeout", "atomic_path", "write_atomic"]


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the same folder; move it to `path` on success, delete it on any error.

    Args:
        path: Destination file. Its folder must exist.

    Yields:
        The temporary path to write to. Host name and process id are part of its name, so that neither processes nor
        machines on a network file system collide.
    """
    path = Path(path)
    tmp_path = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        yield tmp_path
        os.replace(tmp_path, path)
    finally:
        tmp_path.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike, content: bytes | str) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    Args:
        path: Destination file. Its folder must exist.
        content: Bytes, or text that is written as UTF-8.
    """
    with atomic_path(path) as tmp_path:
        tmp_path.write_bytes(content.encode() if isinstance(content, str) else content)
