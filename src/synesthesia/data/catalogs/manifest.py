"""Build the manifest of `curate`: which files to decode, as which clips, and what is rejected before decoding."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from synesthesia.config import Config
from synesthesia.data.catalogs import audioset, label_filter, media_index, splits, vggsound
from synesthesia.data.catalogs.rows import CatalogError, ListRow, deduplicate

_MAX_NAMES_IN_WARNING = 10
_NUM_EXAMPLES = 3
_MAX_ABSENT_FRACTION = 0.25  # of the listed clips, in a folder that is mostly of other clips


class ClipEntry(NamedTuple):
    """A clip to decode.

    Attributes:
        clip_id: `<video id>_<start second, 6 digits>`.
        video_id: YouTube id of the video.
        dataset: "vggsound" or "audioset".
        labels: Labels of the clip.
        split: finetune, analysis, test, or unseen.
        file: Name in reports, relative to the data folder.
        path: Path of the file.
        alternatives: Paths of the clip's other files, which are decoded if this one is not usable.
    """

    clip_id: str
    video_id: str
    dataset: str
    labels: tuple[str, ...]
    split: str
    file: str
    path: str
    alternatives: tuple[str, ...] = ()


@dataclass
class Manifest:
    """Work list of `curate`.

    Attributes:
        items: Clips with a file, sorted by clip id.
        rejected: Rows of `schemas.REJECTED` for listed clips that cannot be decoded.
        counts: Counts of each rule, by dataset.
        frequencies: `{dataset: {label: number of listed clips}}`.
        warnings: Messages about files and list entries without a counterpart.
    """

    items: list[ClipEntry] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    frequencies: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def build_manifest(config: Config) -> Manifest:
    """Read the lists, apply the rules, and find the media files.

    Args:
        config: The configuration; its blocks `data`, `curate`, and `make_questions` are used.

    Returns:
        The manifest.

    Raises:
        CatalogError: A list or folder is unusable, or the lists are too small for a study.
    """
    manifest = Manifest()
    data, curate = config.data, config.curate
    listed = vggsound.read_list(data.vggsound_list)
    unique, list_counts = _deduplicate_list(manifest, vggsound.NAME, listed, Path(data.vggsound_list))
    filtered, label_counts = label_filter.filter_labels(unique, curate.drop_multi_name_labels, curate.display_names)
    if label_counts["labels"] < config.make_questions.num_options:
        raise CatalogError(
            f"{data.vggsound_list} has {label_counts['labels']} usable labels, but a question needs "
            f"{config.make_questions.num_options} (make_questions.num_options): add labels, or lower "
            "make_questions.num_options"
        )
    split_by_clip, num_dropped = splits.split_vggsound(filtered, curate.analysis_clips_per_label, curate.seed)
    rows = [row for row in filtered if row.clip_id in split_by_clip]
    pairs = [(label, split_by_clip[row.clip_id]) for row in rows for label in row.labels]
    splits.check_split_sizes({label for label, _ in pairs}, pairs, curate.analysis_clips_per_label, "in the list")
    manifest.counts[vggsound.NAME] = {
        **list_counts,
        **label_counts,
        "train_clips_of_test_videos": num_dropped,
        "curation_steps": {  # in the order of application; what remains after each
            "published": _count_rows(listed),
            "deduplicated": _count_rows(unique),
            "single_name_labels": _count_rows(filtered),
            "train_without_test_videos": _count_rows(rows),
        },
    }
    manifest.frequencies[vggsound.NAME] = _count_labels([row for row in rows if row.source_split == "train"])
    _add_media_files(
        manifest, vggsound.NAME, rows, unique, split_by_clip, Path(data.vggsound_clips), "data.vggsound_clips"
    )
    if data.audioset_list:
        _add_audioset(manifest, config, {row.video_id for row in listed})
    manifest.items.sort(key=lambda item: item.clip_id)
    return manifest


def _add_audioset(manifest: Manifest, config: Config, vggsound_videos: set[str]) -> None:
    data = config.data
    assert data.audioset_list and data.audioset_labels and data.audioset_clips  # the config requires all three or none
    unique, list_counts = _deduplicate_list(
        manifest, audioset.NAME, audioset.read_list(data.audioset_list, data.audioset_labels), Path(data.audioset_list)
    )
    split_by_clip, num_dropped = splits.split_audioset(unique, vggsound_videos)
    rows = [row for row in unique if row.clip_id in split_by_clip]
    manifest.frequencies[audioset.NAME] = _count_labels(rows)
    label_filter.check_distinct(manifest.frequencies[audioset.NAME])
    manifest.counts[audioset.NAME] = {
        **list_counts,
        "clips_of_vggsound_videos": num_dropped,
        "labels": len(manifest.frequencies[audioset.NAME]),
    }
    _add_media_files(
        manifest, audioset.NAME, rows, unique, split_by_clip, Path(data.audioset_clips), "data.audioset_clips"
    )


def _deduplicate_list(
    manifest: Manifest, dataset: str, list_rows: list[ListRow], list_path: Path
) -> tuple[list[ListRow], dict[str, int]]:
    """Return one row per clip and the counts; reject clips with conflicting labels."""
    unique, conflicts, num_duplicates = deduplicate(list_rows)
    for conflict in conflicts:
        versions = " and ".join(repr(", ".join(labels)) for labels in conflict.labels)
        manifest.rejected.append(
            {
                "file": _display_path(list_path, dataset),
                "clip_id": conflict.clip_id,
                "label": None,
                "reason": "conflicting labels",
                "detail": f"listed as {versions}",
                "bytes": None,
            }
        )
    return unique, {
        "listed": len(list_rows),
        "duplicate_rows": num_duplicates,
        "conflicting": len(conflicts),
        "clips": len(unique),
    }


def _count_rows(rows: list[ListRow]) -> dict[str, int]:
    """Count the labels, train clips, and test clips of `rows`."""
    source_splits = Counter(row.source_split for row in rows)
    return {
        "labels": len({label for row in rows for label in row.labels}),
        "train_clips": source_splits["train"],
        "test_clips": source_splits["test"],
    }


def _count_labels(rows: list[ListRow]) -> dict[str, int]:
    return dict(sorted(Counter(label for row in rows for label in row.labels).items()))


def _add_media_files(
    manifest: Manifest,
    dataset: str,
    split_rows: list[ListRow],
    list_rows: list[ListRow],
    split_by_clip: dict[str, str],
    folder: Path,
    config_key: str,
) -> None:
    """Add clips with a file to the manifest, and reject those without."""
    index = media_index.build_media_index(folder, list_rows, config_key)
    prefix = _display_path(folder, dataset)
    absent = [row for row in split_rows if row.clip_id not in index.paths]
    _check_names(dataset, split_rows, absent, index, folder, config_key)
    for row in split_rows:
        clip_id = row.clip_id
        relative_path = index.paths.get(clip_id)
        if relative_path is not None:
            file = _to_printable(f"{prefix}/{relative_path}")
            path, *alternatives = (
                os.path.join(folder, name) for name in (relative_path, *index.alternatives.get(clip_id, ()))
            )
            split = split_by_clip[clip_id]
            manifest.items.append(
                ClipEntry(clip_id, row.video_id, dataset, row.labels, split, file, path, tuple(alternatives))
            )
    for row in absent:
        manifest.rejected.append(
            {
                "file": f"{prefix}/{row.clip_id}.mp4",
                "clip_id": row.clip_id,
                "label": ", ".join(row.labels),
                "reason": "absent",
                "detail": "listed, but there is no such file",
                "bytes": None,
            }
        )
    manifest.counts[dataset] |= {
        "absent": len(absent),
        "files_not_listed": len(index.unlisted),
        "duplicate_files": len(index.duplicates),
    }
    _add_warning(manifest, f"files in {folder} are not in {dataset}'s list", index.unlisted)
    _add_warning(manifest, f"files in {folder} belong to clips that already have a file", index.duplicates)
    _add_warning(manifest, f"listed clips of {dataset} have no file", [row.clip_id for row in absent])


def _check_names(
    dataset: str,
    split_rows: list[ListRow],
    absent: list[ListRow],
    index: media_index.MediaIndex,
    folder: Path,
    config_key: str,
) -> None:
    """Reject a folder whose names do not fit the list; a few files of other clips, or a few lost clips, are usual."""
    strangers = index.unlisted_media()
    files = ", ".join(_to_printable(name) for name in strangers[:_NUM_EXAMPLES])
    if len(absent) == len(split_rows):
        examples = ", ".join(f"{row.clip_id}.mp4" for row in absent[:_NUM_EXAMPLES])
        found = f"; the folder has {files}" if files else ""
        raise CatalogError(
            f"none of the {len(split_rows)} listed clips of {dataset} is in {folder} (expected files such as "
            f"{examples}{found}): does {config_key} in params.yaml name the right folder?"
        )
    num_fitting = len(index.paths) + len(index.duplicates)
    if len(strangers) > num_fitting and len(absent) > _MAX_ABSENT_FRACTION * len(split_rows):
        clips = ", ".join(row.clip_id for row in absent[:_NUM_EXAMPLES])
        raise CatalogError(
            f"{len(strangers)} of {len(strangers) + num_fitting} files in {folder} fit no clip of {dataset}'s list, "
            f"such as {files}; {len(absent)} listed clips have no file, such as {clips}: rename the files to "
            f"`<id>_<start, 6 digits>.mp4`, or name the right folder in params.yaml ({config_key})"
        )


def _add_warning(manifest: Manifest, description: str, names: list[str]) -> None:
    if names:
        examples = ", ".join(_to_printable(name) for name in names[:_MAX_NAMES_IN_WARNING])
        more = ", …" if len(names) > _MAX_NAMES_IN_WARNING else ""
        manifest.warnings.append(f"{len(names)} {description}: {examples}{more}")


def _display_path(path: Path, dataset: str) -> str:
    """Return a path for reports: relative to `data/`, without details of this machine."""
    parts = path.parts
    if not path.is_absolute() and parts[0] == "data" and len(parts) > 1:
        return "/".join(parts[1:])
    return f"{dataset}/{path.name}" if path.is_file() else dataset


def _to_printable(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "replace").decode()
