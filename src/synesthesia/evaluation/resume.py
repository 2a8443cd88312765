"""Where unfinished work is kept, outside of every stage's outs, and the name that says what it belongs to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CACHE_DIR = Path("out/.partial")


def fingerprint(*parts: object) -> str:
    """Short hash of JSON-able values and of files and folders (given as Path) by their content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    digest.update(str(file.relative_to(part)).encode())
                    with open(file, "rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:20]
