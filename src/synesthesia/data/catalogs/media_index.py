"""Index the media files of a folder by clip id, for any layout and extension.

    <id>_000123.mp4    <id>_123.webm    <id>/000123.mkv    <id>_123_133.mp4    <id>_123.000_133.000.mp4
    and, for videos with one clip in the list, <id>.mp4, <id>/*

Only directory entries are read, no file is opened, so a folder of 200,000 files takes seconds (`benchmarks/scale.py`).
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
    """Media files of a folder; all paths are relative to it.

    Attributes:
        paths: File by clip id, one per clip.
        unlisted: Files that belong to no listed clip, sorted.
        duplicates: Further files of clips that already have one, sorted.
    """

    paths: dict[str, str]
    unlisted: list[str]
    duplicates: list[str]


def build_media_index(folder: str | Path, rows: Iterable[ListRow], config_key: str) -> MediaIndex:
    """Find the clips' files below `folder`.

    Of several files for one clip, .mp4 wins over .mkv, .webm, and others, then the name decides. Symbolic links to
    folders are followed. Files that downloaders add (subtitles, thumbnails, partial downloads) match no clip.

    Args:
        folder: The folder to search, recursively.
        rows: The listed clips.
        config_key: The parameter that names the folder, for the error message.

    Returns:
        The index.

    Raises:
        CatalogError: The folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CatalogError(
            f"{folder} is missing: run `make data` for the embedded study, or name your clips' folder in params.yaml "
            f"({config_key})"
        )
    clip_ids: set[str] = set()
    single_clip_videos: dict[str, str | None] = {}
    for row in rows:
        clip_id = row.clip_id
        clip_ids.add(clip_id)
        single_clip_videos[row.video_id] = None if row.video_id in single_clip_videos else clip_id
    paths: dict[str, str] = {}
    unlisted: list[str] = []
    duplicates: list[str] = []
    for parent, name in _walk_files(folder):
        path = f"{parent}/{name}" if parent else name
        match = _match_clip(parent.rpartition("/")[2], name, clip_ids, single_clip_videos)
        if match is None:
            unlisted.append(path)
        elif match not in paths:
            paths[match] = path
        else:
            preferred, duplicate = sorted((paths[match], path), key=_extension_rank)
            paths[match] = preferred
            duplicates.append(duplicate)
    return MediaIndex(paths, sorted(unlisted), sorted(duplicates))


def _walk_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield parent folder (relative, "" at the top) and name of every file that is not hidden."""
    pending, visited_links = [""], {os.path.realpath(folder)}
    while pending:
        parent = pending.pop()
        with os.scandir(os.path.join(folder, parent) if parent else os.fspath(folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield parent, entry.name
                    continue
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in visited_links:  # once only: circular links would never end
                        continue
                    visited_links.add(target)
                pending.append(f"{parent}/{entry.name}" if parent else entry.name)


def _match_clip(
    parent: str, file_name: str, clip_ids: set[str], single_clip_videos: dict[str, str | None]
) -> str | None:
    stem, extension = os.path.splitext(file_name)
    if extension.lower() in _SIDECAR_EXTENSIONS:
        return None
    if not file_name.isascii():
        stem = to_nfc(stem)
    video, _, start = stem.rpartition("_")
    if stem in clip_ids:
        return stem
    if video and _is_start_time(start) and (clip_id := format_clip_id(video, int(start))) in clip_ids:
        return clip_id
    parent = parent if parent.isascii() else to_nfc(parent)
    if _is_start_time(stem) and (clip_id := format_clip_id(parent, int(stem))) in clip_ids:
        return clip_id
    match = _START_END_PATTERN.fullmatch(stem)
    if match and int(match[2]) < int(match[3]) and (clip_id := format_clip_id(match[1], int(match[2]))) in clip_ids:
        return clip_id
    return single_clip_videos.get(stem) or single_clip_videos.get(parent)


def _is_start_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _extension_rank(path: str) -> tuple[int, str]:
    extension = os.path.splitext(path)[1].lower()
    known = extension in _PREFERRED_EXTENSIONS
    return _PREFERRED_EXTENSIONS.index(extension) if known else len(_PREFERRED_EXTENSIONS), path
