"""Names that MLflow and file systems accept: unique, for titles, labels, and keys in any script and length."""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

MAX_NAME_LENGTH = 250  # MLflow's limit for names of metrics, parameters, and tags, and its column of run names
MAX_FILE_NAME_BYTES = 120
DIGEST_LENGTH = 8  # hexadecimal digits that keep changed names apart


def sanitize_name(name: str) -> str:
    """Replace what MLflow refuses in names of metrics, parameters, and tags; labels may hold commas or accents.

    Args:
        name: Any name.

    Returns:
        A valid name of at most 250 characters. It ends with a part of the name's SHA-256 where letters of another
        script or the end of a long name are lost.
    """
    valid = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    if not valid or _is_relative_path(valid):
        valid = "_" + valid.replace("/", "_")
    is_unreadable = any(not c.isascii() and not unicodedata.name(c, "").startswith("LATIN") for c in name)
    return _add_digest(valid, name, MAX_NAME_LENGTH) if is_unreadable or len(valid) > MAX_NAME_LENGTH else valid


def sanitize_names(names: Iterable[str]) -> dict[str, str]:
    """Sanitize the names of one run, so that different names stay different.

    Args:
        names: Any names.

    Returns:
        Valid names by name, see `sanitize_name`. Of names that become equal, those that MLflow refuses get a part of
        their SHA-256.
    """
    valid = {name: sanitize_name(name) for name in names}
    counts = Counter(valid.values())
    return {
        name: _add_digest(value, name, MAX_NAME_LENGTH) if counts[value] > 1 and value != name else value
        for name, value in valid.items()
    }


def shorten_name(name: str, max_length: int = MAX_NAME_LENGTH, refused: str = "") -> str:
    """Shorten a name in any script, such as a run's.

    Args:
        name: Any name.
        max_length: Maximum number of characters.
        refused: Characters to replace, besides control characters.

    Returns:
        The name; if it had to change, it ends with a part of its SHA-256.
    """
    valid = "".join("_" if c in refused or unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
    return valid if valid == name and len(name) <= max_length else _add_digest(valid, name, max_length)


def registered_name(name: str) -> str:
    """Make a name that MLflow's registry and its search accept.

    Args:
        name: Any name, or a result of this function, which stays as it is.

    Returns:
        The name; if it had to change, it ends with a part of its SHA-256.
    """
    valid = shorten_name(name, refused="/:'\"`\\")
    return valid if valid.strip() and not _is_relative_path(valid) else _add_digest("_", name, MAX_NAME_LENGTH)


def file_name(name: str) -> str:
    """Make the name of a file or folder; file systems allow 255 bytes, and suffixes need some of them.

    Args:
        name: Any name.

    Returns:
        The name; if it had to change in more than slashes, it ends with a part of its SHA-256.
    """
    name = name.replace("/", "_")
    valid = shorten_name(name)
    if len(valid.encode()) <= MAX_FILE_NAME_BYTES:
        return valid
    beginning = valid.encode()[: MAX_FILE_NAME_BYTES - DIGEST_LENGTH - 1].decode(errors="ignore")
    return _add_digest(beginning, name, MAX_FILE_NAME_BYTES)


def _is_relative_path(name: str) -> bool:
    """Tell whether MLflow takes a name for a path that leads elsewhere: `/m/0abc`, `a//b`, `..`."""
    path = posixpath.normpath(name)
    return path != name or path == "." or path.startswith(("..", "/"))


def _add_digest(valid: str, name: str, max_length: int) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{valid[: max_length - DIGEST_LENGTH - 1]}-{digest}"
