"""Unfinished work, kept outside the outputs of every stage under a name that says what it belongs to."""

from __future__ import annotations

from pathlib import Path

from synesthesia.utils import hashing

CACHE_DIR = Path("out/.partial")


def fingerprint(*parts: object) -> str:
    """Hash all that determines a result, as the name of the folder from which interrupted work resumes.

    Args:
        parts: Values for JSON; a `Path` counts by the content of its file or folder, if there is one.

    Returns:
        20 hexadecimal digits.
    """
    return hashing.hash_json([hashing.hash_path(p) if isinstance(p, Path) and p.exists() else p for p in parts])[:20]
