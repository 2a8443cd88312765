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

from synesthesia.data.catalogs.rows import CatalogError, ListRow, format_clip_id, to_nfc

_START_END_PATTERN = re.compile(r"(.+)_(\d{1,9})(?:\.\d+)?_(\d{1,9})(?:\.\d+)?", re.ASCII)
_PREFERRED_EXTENSIONS = (".mp4", ".mkv", ".webm")
_SIDECAR_EXTENSIONS = frozenset(
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
class MediaIndex:
    """Paths relative to the folder: one a clip; files of no listed clip; files beyond the first of a clip."""

    paths: dict[str, str]
    unlisted: list[str]
    duplicates: list[str]


def build_media_index(folder: str | Path, rows: Iterable[ListRow], config_key: str) -> MediaIndex:
    """Look for the clips' files below `folder`; of several, .mp4 goes before .mkv, .webm and others, then by name.

    Folders that are links are followed. What downloaders leave beside a clip (subtitles, pictures, halves) is nobody's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CatalogError(
            f"{folder} is missing: run `make data` for the embedded world, or name your clips' folder in params.yaml "
            f"({config_key})"
        )
    known: set[str] = set()
    single: dict[str, str | None] = {}
    for row in rows:
        name = row.clip_id
        known.add(name)
        single[row.video_id] = None if row.video_id in single else name
    paths: dict[str, str] = {}
    unlisted: list[str] = []
    surplus: list[str] = []
    for inside, name in _walk_files(folder):
        relative = f"{inside}/{name}" if inside else name
        clip = _match_clip(inside.rpartition("/")[2], name, known, single)
        if clip is None:
            unlisted.append(relative)
        elif clip not in paths:
            paths[clip] = relative
        else:
            first, second = sorted((paths[clip], relative), key=_extension_rank)
            paths[clip] = first
            surplus.append(second)
    return MediaIndex(paths, sorted(unlisted), sorted(surplus))


def _walk_files(folder: Path) -> Iterator[tuple[str, str]]:
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


def _match_clip(
    parent: str, file_name: str, clip_ids: set[str], single_clip_videos: dict[str, str | None]
) -> str | None:
    stem, ending = os.path.splitext(file_name)
    if ending.lower() in _SIDECAR_EXTENSIONS:
        return None
    if not file_name.isascii():
        stem = to_nfc(stem)
    video, _, start = stem.rpartition("_")
    if stem in clip_ids:
        return stem
    if video and _is_start_time(start) and (named := format_clip_id(video, int(start))) in clip_ids:
        return named
    parent = parent if parent.isascii() else to_nfc(parent)
    if _is_start_time(stem) and (named := format_clip_id(parent, int(stem))) in clip_ids:
        return named
    both = _START_END_PATTERN.fullmatch(stem)
    if both and int(both[2]) < int(both[3]) and (named := format_clip_id(both[1], int(both[2]))) in clip_ids:
        return named
    return single_clip_videos.get(stem) or single_clip_videos.get(parent)


def _is_start_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _extension_rank(path: str) -> tuple[int, str]:
    ending = os.path.splitext(path)[1].lower()
    return (
        _PREFERRED_EXTENSIONS.index(ending) if ending in _PREFERRED_EXTENSIONS else len(_PREFERRED_EXTENSIONS),
        path,
    )
