"""SHA-256 fingerprints of values, files, and folders."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def hash_json(value: object) -> str:
    """Hash a value by its JSON text; the order of keys does not matter.

    Args:
        value: Anything that `json` takes; other objects count by their `str`.

    Returns:
        SHA-256 in hexadecimal.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """Hash the bytes of a file.

    Args:
        path: The file.

    Returns:
        SHA-256 in hexadecimal.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_path(path: str | os.PathLike) -> str:
    """Hash the content of a file, or the relative names and contents of all files of a folder.

    Args:
        path: File or folder; where it lies does not matter.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        FileNotFoundError: There is nothing at this path.
    """
    total = hashlib.sha256()
    for file in list_files(path):
        total.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode())
    return total.hexdigest()


def list_files(path: str | os.PathLike) -> list[Path]:
    """List the files of a folder, or the file itself.

    Args:
        path: File or folder.

    Returns:
        The files, sorted by path.

    Raises:
        FileNotFoundError: There is nothing at this path.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    return [path]
