"""The media files of a folder, by id, whatever the layout and the extension.

    <id>_000123.mp4    <id>_123.webm    <id>/000123.mkv    <id>_123_133.mp4    <id>_123.000_133.000.mp4
    and, for videos with one clip in the list, <id>.mp4, <id>/*

A folder of 200,000 files is a matter of seconds: its entries are listed, no file is looked at (`benchmarks/scale.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from synesthesia.data.catalogs.rows import CatalogError, Listed, clip_id, normal

_BOTH_ENDS = re.compile(r"(.+)_(\d{1,9})(?:\.\d+)?_(\d{1,9})(?:\.\d+)?", re.ASCII)
_PREFERRED = (".mp4", ".mkv", ".webm")
_BESIDE = frozenset(
    [
        ".json",
        ".txt",
        ".csv",
        ".vtt",
        ".srt",
        ".description",
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".part",
        ".ytdl",
        ".tmp",
    ]
)


@dataclass(frozen=True)
class Found:
    """Paths relative to the folder: one a clip; files of no listed clip; files beyond the first of a clip."""

    paths: dict[str, str]
    unlisted: list[str]
    surplus: list[str]


def find(folder: str | Path, listed: Iterable[Listed], key: str) -> Found:
    """Look for the clips' files below `folder`; of several, .mp4 goes before .mkv, .webm and others, then by name.

    Folders that are links are followed. What downloaders leave beside a clip (subtitles, pictures, halves) is nobody's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CatalogError(
            f"{folder} is missing: run `make data` for the embedded world, or name your clips' folder in params.yaml "
            f"({key})"
        )
    known: set[str] = set()
    single: dict[str, str | None] = {}
    for row in listed:
        name = row.clip_id
        known.add(name)
        single[row.video_id] = None if row.video_id in single else name
    paths: dict[str, str] = {}
    unlisted: list[str] = []
    surplus: list[str] = []
    for inside, name in _files(folder):
        relative = f"{inside}/{name}" if inside else name
        clip = _clip_of(inside.rpartition("/")[2], name, known, single)
        if clip is None:
            unlisted.append(relative)
        elif clip not in paths:
            paths[clip] = relative
        else:
            first, second = sorted((paths[clip], relative), key=_preference)
            paths[clip] = first
            surplus.append(second)
    return Found(paths, sorted(unlisted), sorted(surplus))


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """The folder that a file is in (relative, "" for the top) and its name, but for hidden ones."""
    waiting, followed = [""], {os.path.realpath(folder)}
    while waiting:
        inside = waiting.pop()
        here = os.path.join(folder, inside) if inside else os.fspath(folder)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield inside, entry.name
                    continue
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in followed:  # once, or links in a circle would never end
                        continue
                    followed.add(target)
                waiting.append(f"{inside}/{entry.name}" if inside else entry.name)


def _clip_of(parent: str, name: str, known: set[str], single: dict[str, str | None]) -> str | None:
    stem, ending = os.path.splitext(name)
    if ending.lower() in _BESIDE:
        return None
    if not name.isascii():
        stem = normal(stem)
    video, _, start = stem.rpartition("_")
    if stem in known:
        return stem
    if video and _is_second(start) and (named := clip_id(video, int(start))) in known:
        return named
    parent = parent if parent.isascii() else normal(parent)
    if _is_second(stem) and (named := clip_id(parent, int(stem))) in known:
        return named
    both = _BOTH_ENDS.fullmatch(stem)
    if both and int(both[2]) < int(both[3]) and (named := clip_id(both[1], int(both[2]))) in known:
        return named
    return single.get(stem) or single.get(parent)


def _is_second(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _preference(path: str) -> tuple[int, str]:
    ending = os.path.splitext(path)[1].lower()
    return (_PREFERRED.index(ending) if ending in _PREFERRED else len(_PREFERRED), path)
