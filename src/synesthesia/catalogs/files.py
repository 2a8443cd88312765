"""The media files of a folder, by id, whatever the layout and the extension.

<id>_000123.mp4    <id>_123.webm    <id>/000123.mkv    and, for videos with one clip in the list, <id>.mp4, <id>/*
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synesthesia.catalogs.listing import CatalogError, Listed, clip_id, normal

_NAMED = re.compile(r"(.+)_(\d{1,9})")
_PREFERRED = (".mp4", ".mkv", ".webm")


@dataclass(frozen=True)
class Found:
    """Paths relative to the folder: one a clip; files of no listed clip; files beyond the first of a clip."""

    paths: dict[str, str]
    unlisted: list[str]
    surplus: list[str]


def find(folder: str | Path, listed: Iterable[Listed], key: str) -> Found:
    """Look for the clips' files below `folder`; of several, .mp4 goes before .mkv, .webm and others, then by name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CatalogError(
            f"{folder} is missing: run `make data` for the embedded world, or name your clips' folder in params.yaml "
            f"({key})"
        )
    rows = list(listed)
    known = {row.clip_id for row in rows}
    times = Counter(row.video_id for row in rows)
    single = {row.video_id: row.clip_id for row in rows if times[row.video_id] == 1}
    candidates: dict[str, list[str]] = {}
    unlisted: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(base, folder)
        for name in names:
            if name.startswith("."):
                continue
            relative = name if inside == "." else f"{inside}/{name}"
            clip = _clip_of(relative, known, single)
            if clip is None:
                unlisted.append(relative)
            else:
                candidates.setdefault(clip, []).append(relative)
    for paths in candidates.values():
        paths.sort(key=_preference)
    return Found(
        {clip: paths[0] for clip, paths in candidates.items()},
        sorted(unlisted),
        sorted(path for paths in candidates.values() for path in paths[1:]),
    )


def _clip_of(relative: str, known: set[str], single: dict[str, str]) -> str | None:
    stem = normal(Path(relative).stem)
    parent = normal(Path(relative).parent.name)
    named = _NAMED.fullmatch(stem)
    if named and clip_id(named[1], int(named[2])) in known:
        return clip_id(named[1], int(named[2]))
    if stem.isdecimal() and clip_id(parent, int(stem)) in known:
        return clip_id(parent, int(stem))
    return single.get(stem) or single.get(parent)


def _preference(path: str) -> tuple[int, str]:
    ending = Path(path).suffix.lower()
    return (_PREFERRED.index(ending) if ending in _PREFERRED else len(_PREFERRED), path)
