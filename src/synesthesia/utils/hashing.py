"""SHA-256 fingerprints of values, files, and folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
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
    return combine_hashes((file.relative_to(path), hash_file(file)) for file in list_files(path))


def combine_hashes(files: Iterable[tuple[Path, str]]) -> str:
    """Hash names and contents of files whose own hashes are known.

    Args:
        files: Relative path and SHA-256 of each file.

    Returns:
        SHA-256 in hexadecimal.
    """
    total = hashlib.sha256()
    for name, file_hash in files:
        total.update(f"{name.as_posix()}\0{file_hash}\n".encode())
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
