"""Assign clips to splits; no video is in two of them (paper section 3.1).

- test      clips that VGGSound lists as test. Train clips of a video with a test clip are dropped.
- analysis  n train clips per label, in the order of a hash of seed and video id. All clips of a video share a split: a
            video that would exceed n for one of its labels is skipped and stays in finetune.
- finetune  all other train clips.
- unseen    AudioSet's evaluation clips, except videos that VGGSound also lists.

Splits depend on the list alone, not on files: a missing or damaged file moves no other clip.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from synesthesia.data.catalogs.rows import CatalogError, ListRow


def split_vggsound(rows: list[ListRow], analysis_clips_per_label: int, seed: int) -> tuple[dict[str, str], int]:
    """Assign VGGSound's clips to finetune, analysis, and test.

    Args:
        rows: One row per clip.
        analysis_clips_per_label: Maximum number of analysis clips per label.
        seed: Seed of the analysis split.

    Returns:
        `{clip id: split}`, and the number of train clips dropped because their video has a test clip.
    """
    test_videos = {row.video_id for row in rows if row.source_split == "test"}
    splits = {row.clip_id: "test" for row in rows if row.source_split == "test"}
    train = [row for row in rows if row.source_split == "train" and row.video_id not in test_videos]
    videos: dict[str, list[ListRow]] = {}
    for row in train:
        videos.setdefault(row.video_id, []).append(row)
    num_analysis: Counter[str] = Counter()
    for video_id in sorted(videos, key=lambda video_id: (_hash(seed, video_id), video_id)):
        labels = [label for row in videos[video_id] for label in row.labels]
        label_counts = Counter(labels) if len(labels) > 1 else {labels[0]: 1}
        fits = all(num_analysis[label] + count <= analysis_clips_per_label for label, count in label_counts.items())
        if fits:
            num_analysis.update(label_counts)
        for row in videos[video_id]:
            splits[row.clip_id] = "analysis" if fits else "finetune"
    return splits, sum(row.source_split == "train" for row in rows) - len(train)


def split_audioset(rows: list[ListRow], vggsound_videos: set[str]) -> tuple[dict[str, str], int]:
    """Assign AudioSet's clips to unseen.

    Args:
        rows: One row per clip.
        vggsound_videos: Ids of all videos in VGGSound's list.

    Returns:
        `{clip id: "unseen"}`, and the number of clips dropped because VGGSound lists their video.
    """
    splits = {row.clip_id: "unseen" for row in rows if row.video_id not in vggsound_videos}
    return splits, len(rows) - len(splits)


def check_split_sizes(
    labels: Iterable[str], label_splits: Iterable[tuple[str, str]], analysis_clips_per_label: int, context: str
) -> None:
    """Check that every label has a finetune and an analysis clip; the gap and the switch need both.

    Args:
        labels: Labels to check.
        label_splits: Label and split of every clip.
        analysis_clips_per_label: The parameter, for the error message.
        context: Ends the sentence of the error message, e.g. "in the list".

    Raises:
        CatalogError: A label has no finetune clip or no analysis clip.
    """
    counts = Counter(label_splits)
    for label in sorted(labels):
        num_finetune, num_analysis = counts[label, "finetune"], counts[label, "analysis"]
        if not num_finetune or not num_analysis:
            raise CatalogError(
                f"label {label!r} has too few train clips {context}: {num_analysis} for analysis, where "
                f"curate.analysis_clips_per_label is {analysis_clips_per_label}, and {num_finetune} for finetuning; "
                "each needs at least one: add clips of it, lower curate.analysis_clips_per_label, or remove the label "
                "from the list"
            )


def _hash(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
