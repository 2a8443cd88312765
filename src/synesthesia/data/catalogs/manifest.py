"""Lists and folders together: which files to decode, as which clips, and what is put aside before any decoding."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from synesthesia.config import Params
from synesthesia.data.catalogs import audioset, media_index, splits, vggsound
from synesthesia.data.catalogs import label_filter as labels
from synesthesia.data.catalogs.rows import CatalogError, Listed, merge


class Item(NamedTuple):
    """A clip to decode: `file` is its name in reports (relative to the data folder), `path` where it lies."""

    clip_id: str
    video_id: str
    dataset: str
    labels: tuple[str, ...]
    split: str
    file: str
    path: str


@dataclass
class Plan:
    """What there is to do; `counts` by data set and `frequencies` ({data set: {label: clips}}) are of the lists."""

    items: list[Item] = field(default_factory=list)
    aside: list[dict] = field(default_factory=list)
    counts: dict[str, dict] = field(default_factory=dict)
    frequencies: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make(params: Params) -> Plan:
    """Read the lists, look for the files; Plan with items sorted by clip id. CatalogError where a study cannot be."""
    plan = Plan()
    data, curate = params.data, params.curate
    listed = vggsound.read(data.vggsound_list)
    rows, kept_counts = _merged(plan, vggsound.NAME, listed, Path(data.vggsound_list))
    kept, label_counts = labels.clean(rows, curate.drop_labels_with_several_names, curate.display_names)
    if label_counts["labels"] < params.ask.options:
        raise CatalogError(
            f"{data.vggsound_list} has {label_counts['labels']} labels that stay, but a question needs "
            f"{params.ask.options} (ask.options): add labels, or lower ask.options"
        )
    after_labels = _tally(kept)
    split_of, left_out = splits.vggsound(kept, curate.analysis_clips_a_label, curate.seed)
    kept = [row for row in kept if row.clip_id in split_of]
    pairs = [(label, split_of[row.clip_id]) for row in kept for label in row.labels]
    splits.require_enough({label for label, _ in pairs}, pairs, curate.analysis_clips_a_label, "in the list")
    plan.counts[vggsound.NAME] = {
        **kept_counts,
        **label_counts,
        "train_clips_of_tested_videos": left_out,
        "rules": {  # in their order; what is left after each
            "as_listed": _tally(listed),
            "one_row_a_clip": _tally(rows),
            "one_name_a_label": after_labels,
            "no_tested_video_in_train": _tally(kept),
        },
    }
    plan.frequencies[vggsound.NAME] = _frequencies([row for row in kept if row.part == "train"])
    _locate(plan, vggsound.NAME, kept, rows, split_of, Path(data.vggsound_clips), "data.vggsound_clips")
    if data.audioset_list:
        videos = {row.video_id for row in listed}
        rows, kept_counts = _merged(
            plan, audioset.NAME, audioset.read(data.audioset_list, data.audioset_labels), Path(data.audioset_list)
        )
        split_of, left_out = splits.audioset(rows, videos)
        kept = [row for row in rows if row.clip_id in split_of]
        plan.frequencies[audioset.NAME] = _frequencies(kept)
        plan.counts[audioset.NAME] = {
            **kept_counts,
            "clips_of_vggsound_videos": left_out,
            "labels": len(plan.frequencies[audioset.NAME]),
        }
        _locate(plan, audioset.NAME, kept, rows, split_of, Path(data.audioset_clips), "data.audioset_clips")
    plan.items.sort(key=lambda item: item.clip_id)
    return plan


def _merged(plan: Plan, name: str, listed: list[Listed], path: Path) -> tuple[list[Listed], dict[str, int]]:
    rows, wrong, repeated = merge(listed)
    for one in wrong:
        said = " and ".join(repr(", ".join(each)) for each in one.labels)
        plan.aside.append(
            {
                "file": _shown(path, name),
                "clip_id": one.clip_id,
                "label": None,
                "reason": "contradictory labels",
                "detail": f"listed as {said}",
                "bytes": None,
            }
        )
    return rows, {"listed": len(listed), "listed_again": repeated, "contradictory": len(wrong), "clips": len(rows)}


def _tally(rows: list[Listed]) -> dict[str, int]:
    """Labels, train clips and test clips of some rows."""
    parts = Counter(row.part for row in rows)
    return {
        "labels": len({label for row in rows for label in row.labels}),
        "train_clips": parts["train"],
        "test_clips": parts["test"],
    }


def _frequencies(rows: list[Listed]) -> dict[str, int]:
    return dict(sorted(Counter(label for row in rows for label in row.labels).items()))


def _locate(
    plan: Plan, name: str, kept: list[Listed], rows: list[Listed], split_of: dict[str, str], folder: Path, key: str
) -> None:
    """Add the clips that have a file to the plan, those that have none to what is put aside."""
    found = media_index.find(folder, rows, key)
    prefix = _shown(folder, name)
    absent = [row for row in kept if row.clip_id not in found.paths]
    if len(absent) == len(kept):
        raise CatalogError(
            f"none of the {len(kept)} listed clips of {name} is in {folder} (looked for e.g. {kept[0].clip_id}.mp4): "
            f"does {key} in params.yaml name the right folder?"
        )
    for row in kept:
        clip_id = row.clip_id
        relative = found.paths.get(clip_id)
        if relative is not None:
            shown = _printable(f"{prefix}/{relative}")
            path = os.path.join(folder, relative)
            plan.items.append(Item(clip_id, row.video_id, name, row.labels, split_of[clip_id], shown, path))
    for row in absent:
        plan.aside.append(
            {
                "file": f"{prefix}/{row.clip_id}.mp4",
                "clip_id": row.clip_id,
                "label": ", ".join(row.labels),
                "reason": "absent",
                "detail": "listed, but there is no such file",
                "bytes": None,
            }
        )
    plan.counts[name] |= {
        "absent": len(absent),
        "files_not_listed": len(found.unlisted),
        "files_beyond_one_a_clip": len(found.surplus),
    }
    _note(plan, f"files in {folder} that {name}'s list does not have", found.unlisted)
    _note(plan, f"further files of clips in {folder} that have one already", found.surplus)
    _note(plan, f"clips of {name} listed but absent", [row.clip_id for row in absent])


def _note(plan: Plan, what: str, names: list[str]) -> None:
    if names:
        first = ", ".join(_printable(name) for name in names[:10])
        plan.notes.append(f"{len(names)} {what}: {first}{', …' if len(names) > 10 else ''}")


def _shown(path: Path, name: str) -> str:
    """A path as reports name it: relative to `data/`, without anything of this machine."""
    parts = path.parts
    if not path.is_absolute() and parts[0] == "data" and len(parts) > 1:
        return "/".join(parts[1:])
    return f"{name}/{path.name}" if path.is_file() else name


def _printable(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "replace").decode()
