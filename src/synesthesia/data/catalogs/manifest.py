"""Lists and folders together: which files to decode, as which clips, and what is put aside before any decoding."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from synesthesia.config import Config
from synesthesia.data.catalogs import audioset, media_index, splits, vggsound
from synesthesia.data.catalogs import label_filter as labels
from synesthesia.data.catalogs.rows import CatalogError, ListRow, deduplicate


class ClipEntry(NamedTuple):
    """A clip to decode: `file` is its name in reports (relative to the data folder), `path` where it lies."""

    clip_id: str
    video_id: str
    dataset: str
    labels: tuple[str, ...]
    split: str
    file: str
    path: str


@dataclass
class Manifest:
    """What there is to do; `counts` by data set and `frequencies` ({data set: {label: clips}}) are of the lists."""

    items: list[ClipEntry] = field(default_factory=list)
    rejected: list[dict] = field(default_factory=list)
    counts: dict[str, dict] = field(default_factory=dict)
    frequencies: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def build_manifest(config: Config) -> Manifest:
    """Read the lists, look for the files; Plan with items sorted by clip id. CatalogError where a study cannot be."""
    plan = Manifest()
    data, curate = config.data, config.curate
    listed = vggsound.read_list(data.vggsound_list)
    rows, kept_counts = _deduplicate_list(plan, vggsound.NAME, listed, Path(data.vggsound_list))
    kept, label_counts = labels.filter_labels(rows, curate.drop_multi_name_labels, curate.display_names)
    if label_counts["labels"] < config.make_questions.num_options:
        raise CatalogError(
            f"{data.vggsound_list} has {label_counts['labels']} labels that stay, but a question needs "
            f"{config.make_questions.num_options} (ask.options): add labels, or lower ask.options"
        )
    after_labels = _count_rows(kept)
    split_of, left_out = splits.split_vggsound(kept, curate.analysis_clips_per_label, curate.seed)
    kept = [row for row in kept if row.clip_id in split_of]
    pairs = [(label, split_of[row.clip_id]) for row in kept for label in row.labels]
    splits.check_split_sizes({label for label, _ in pairs}, pairs, curate.analysis_clips_per_label, "in the list")
    plan.counts[vggsound.NAME] = {
        **kept_counts,
        **label_counts,
        "train_clips_of_tested_videos": left_out,
        "rules": {  # in their order; what is left after each
            "as_listed": _count_rows(listed),
            "one_row_a_clip": _count_rows(rows),
            "one_name_a_label": after_labels,
            "no_tested_video_in_train": _count_rows(kept),
        },
    }
    plan.frequencies[vggsound.NAME] = _count_labels([row for row in kept if row.source_split == "train"])
    _add_media_files(plan, vggsound.NAME, kept, rows, split_of, Path(data.vggsound_clips), "data.vggsound_clips")
    if data.audioset_list:
        videos = {row.video_id for row in listed}
        rows, kept_counts = _deduplicate_list(
            plan, audioset.NAME, audioset.read_list(data.audioset_list, data.audioset_labels), Path(data.audioset_list)
        )
        split_of, left_out = splits.split_audioset(rows, videos)
        kept = [row for row in rows if row.clip_id in split_of]
        plan.frequencies[audioset.NAME] = _count_labels(kept)
        plan.counts[audioset.NAME] = {
            **kept_counts,
            "clips_of_vggsound_videos": left_out,
            "labels": len(plan.frequencies[audioset.NAME]),
        }
        _add_media_files(plan, audioset.NAME, kept, rows, split_of, Path(data.audioset_clips), "data.audioset_clips")
    plan.items.sort(key=lambda item: item.clip_id)
    return plan


def _deduplicate_list(
    manifest: Manifest, dataset: str, list_rows: list[ListRow], list_path: Path
) -> tuple[list[ListRow], dict[str, int]]:
    rows, wrong, repeated = deduplicate(list_rows)
    for one in wrong:
        said = " and ".join(repr(", ".join(each)) for each in one.labels)
        manifest.rejected.append(
            {
                "file": _display_path(list_path, dataset),
                "clip_id": one.clip_id,
                "label": None,
                "reason": "contradictory labels",
                "detail": f"listed as {said}",
                "bytes": None,
            }
        )
    return rows, {"listed": len(list_rows), "listed_again": repeated, "contradictory": len(wrong), "clips": len(rows)}


def _count_rows(rows: list[ListRow]) -> dict[str, int]:
    """Labels, train clips and test clips of some rows."""
    parts = Counter(row.source_split for row in rows)
    return {
        "labels": len({label for row in rows for label in row.labels}),
        "train_clips": parts["train"],
        "test_clips": parts["test"],
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
    """Add the clips that have a file to the plan, those that have none to what is put aside."""
    found = media_index.build_media_index(folder, list_rows, config_key)
    prefix = _display_path(folder, dataset)
    absent = [row for row in split_rows if row.clip_id not in found.paths]
    if len(absent) == len(split_rows):
        raise CatalogError(
            f"none of the {len(split_rows)} listed clips of {dataset} is in {folder} (looked for e.g. {split_rows[0].clip_id}.mp4): "
            f"does {config_key} in params.yaml name the right folder?"
        )
    for row in split_rows:
        clip_id = row.clip_id
        relative = found.paths.get(clip_id)
        if relative is not None:
            shown = _to_printable(f"{prefix}/{relative}")
            path = os.path.join(folder, relative)
            manifest.items.append(
                ClipEntry(clip_id, row.video_id, dataset, row.labels, split_by_clip[clip_id], shown, path)
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
        "files_not_listed": len(found.unlisted),
        "files_beyond_one_a_clip": len(found.duplicates),
    }
    _add_warning(manifest, f"files in {folder} that {dataset}'s list does not have", found.unlisted)
    _add_warning(manifest, f"further files of clips in {folder} that have one already", found.duplicates)
    _add_warning(manifest, f"clips of {dataset} listed but absent", [row.clip_id for row in absent])


def _add_warning(manifest: Manifest, description: str, names: list[str]) -> None:
    if names:
        first = ", ".join(_to_printable(name) for name in names[:10])
        manifest.warnings.append(f"{len(names)} {description}: {first}{', …' if len(names) > 10 else ''}")


def _display_path(path: Path, dataset: str) -> str:
    """A path as reports name it: relative to `data/`, without anything of this machine."""
    parts = path.parts
    if not path.is_absolute() and parts[0] == "data" and len(parts) > 1:
        return "/".join(parts[1:])
    return f"{dataset}/{path.name}" if path.is_file() else dataset


def _to_printable(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "replace").decode()
