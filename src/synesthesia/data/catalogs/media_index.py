"""Index the media files of a folder by clip id, for any layout and extension.

    <id>_000123.mp4    <id>_123.webm    <id>/000123.mkv    <id>_123_133.mp4    <id>_123.000-133.000.mp4
    <id>_123000_133000.mp4 (milliseconds)    Y<id>_123.000_133.000.mp4 (as AudioSet's downloaders name them)
    and, for videos with one clip in the list, <id>.mp4, Y<id>.mp4, <id>/*

Only directory entries are read, no file is opened, so a folder of 200,000 files takes seconds (`benchmarks/scale.py`).
Of several files for one clip, the index ranks the names, and `decode_jobs` takes the first usable one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from synesthesia.data.catalogs.rows import CatalogError, ListRow, format_clip_id, to_nfc

_START_END_PATTERN = re.compile(r"(.+)_(\d{1,9})(?:\.\d+)?[_-](\d{1,9})(?:\.\d+)?", re.ASCII)
_MAX_CLIP_SECONDS = 1000  # `<id>_30000_40000` is in milliseconds: no clip lasts as long in seconds
_FRAGMENT_PATTERN = re.compile(r"\.(?:f\d[\w-]*|f[a-z]+-[\w-]+|temp)$", re.ASCII)  # what yt-dlp has before it merges
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
        paths: The best file by clip id, by its name.
        alternatives: The other files of clips that have several, the best first.
        unlisted: Files that belong to no listed clip, sorted.
        duplicates: All files of `alternatives`, sorted.
    """

    paths: dict[str, str]
    unlisted: list[str]
    duplicates: list[str]
    alternatives: dict[str, list[str]] = field(default_factory=dict)

    def unlisted_media(self) -> list[str]:
        """Return the unlisted files that may be media: no text, picture, or unfinished download."""
        return [path for path in self.unlisted if not _is_sidecar(path)]


def build_media_index(folder: str | Path, rows: Iterable[ListRow], config_key: str) -> MediaIndex:
    """Find the clips' files below `folder`.

    Of several files for one clip, a name with the clip's start wins over one with the video's id alone, this over any
    other name in the video's folder, and this over a part that yt-dlp has not merged (`<id>.f137.mp4`); then .mp4 wins
    over .mkv, .webm, and others, then the name decides. Symbolic links to folders are followed. Files that downloaders
    add (subtitles, thumbnails, partial downloads) match no clip.

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
    candidates: dict[str, list[tuple[tuple, str]]] = {}
    unlisted: list[str] = []
    for parent, name in _walk_files(folder):
        path = f"{parent}/{name}" if parent else name
        match = _match_clip(parent.rpartition("/")[2], name, clip_ids, single_clip_videos)
        if match is None:
            unlisted.append(path)
        else:
            clip_id, rank = match
            candidates.setdefault(clip_id, []).append(((rank, *_extension_rank(path)), path))
    ranked = {clip_id: [path for _, path in sorted(ranks)] for clip_id, ranks in candidates.items()}
    alternatives = {clip_id: paths[1:] for clip_id, paths in ranked.items() if len(paths) > 1}
    duplicates = sorted(path for paths in alternatives.values() for path in paths)
    return MediaIndex(
        {clip_id: paths[0] for clip_id, paths in ranked.items()}, sorted(unlisted), duplicates, alternatives
    )


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
) -> tuple[str, int] | None:
    """Return the clip that a file belongs to, and how well its name says so; 0 is best."""
    if _is_sidecar(file_name):
        return None
    stem = os.path.splitext(file_name)[0]
    if not file_name.isascii():
        stem = to_nfc(stem)
    parent = parent if parent.isascii() else to_nfc(parent)
    whole = _FRAGMENT_PATTERN.sub("", stem)
    fragment_rank = 0 if whole == stem else 10
    for rank, (folder_name, name) in enumerate(_spell(parent, whole)):
        rank = 3 * rank + fragment_rank
        if clip_id := _match_start(name, clip_ids) or (folder_name and _match_start(f"{folder_name}_{name}", clip_ids)):
            return clip_id, rank
        if clip_id := single_clip_videos.get(name):
            return clip_id, rank + 1
        if folder_name and (clip_id := single_clip_videos.get(folder_name) or _match_start(folder_name, clip_ids)):
            return clip_id, rank + 2
    return None


def _spell(parent: str, stem: str) -> Iterator[tuple[str, str]]:
    """Yield folder and name as they are, then without the Y that AudioSet's downloaders put before an id."""
    yield parent, stem
    if stem.startswith("Y"):
        yield parent, stem[1:]
    if parent.startswith("Y"):
        yield parent[1:], stem


def _match_start(name: str, clip_ids: set[str]) -> str | None:
    """Return the clip that `<id>_<start>` or `<id>_<start>_<end>` names."""
    if name in clip_ids:
        return name
    video, _, start = name.rpartition("_")
    if video and _is_start_time(start) and (clip_id := format_clip_id(video, int(start))) in clip_ids:
        return clip_id
    match = _START_END_PATTERN.fullmatch(name)
    if match is None or int(match[2]) >= int(match[3]):
        return None
    start_time, end_time = int(match[2]), int(match[3])
    units = (1000, 1) if end_time - start_time >= _MAX_CLIP_SECONDS else (1,)
    clips = [format_clip_id(match[1], start_time // unit) for unit in units]
    return next((clip_id for clip_id in clips if clip_id in clip_ids), None)


def _is_sidecar(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in _SIDECAR_EXTENSIONS


def _is_start_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _extension_rank(path: str) -> tuple[int, str]:
    extension = os.path.splitext(path)[1].lower()
    known = extension in _PREFERRED_EXTENSIONS
    return _PREFERRED_EXTENSIONS.index(extension) if known else len(_PREFERRED_EXTENSIONS), path
