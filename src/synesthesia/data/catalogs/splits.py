"""Who is finetuned on, analysed, tested: no video in two splits (paper section 3.1).

- test      what VGGSound lists as test. A train clip of a video that has a test clip is left out altogether.
- analysis  n clips a label out of train, in the order of a hash of seed and video id. A video's clips stay together: a
            video that would give one of its labels more than n is passed over, and stays in finetune whole.
- finetune  the rest of train.
- unseen    AudioSet's evaluation clips, but for videos that VGGSound has as well.

The splits follow from the list alone, before any file is looked at: a file that is lost or damaged is simply missing
from its split and moves no other clip.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from synesthesia.data.catalogs.rows import CatalogError, ListRow


def split_vggsound(rows: list[ListRow], analysis_clips_a_label: int, seed: int) -> tuple[dict[str, str], int]:
    """`{clip id: split}`, and the number of train clips left out because their video is tested."""
    tested = {row.video_id for row in rows if row.source_split == "test"}
    splits = {row.clip_id: "test" for row in rows if row.source_split == "test"}
    train = [row for row in rows if row.source_split == "train" and row.video_id not in tested]
    videos: dict[str, list[ListRow]] = {}
    for row in train:
        videos.setdefault(row.video_id, []).append(row)
    taken: Counter = Counter()
    for video_id in sorted(videos, key=lambda video_id: (_hash(seed, video_id), video_id)):
        wanted = [label for row in videos[video_id] for label in row.labels]
        needs = Counter(wanted) if len(wanted) > 1 else {wanted[0]: 1}
        fits = all(taken[label] + count <= analysis_clips_a_label for label, count in needs.items())
        if fits:
            taken.update(needs)
        for row in videos[video_id]:
            splits[row.clip_id] = "analysis" if fits else "finetune"
    return splits, sum(row.source_split == "train" for row in rows) - len(train)


def split_audioset(rows: list[ListRow], vggsound_videos: set[str]) -> tuple[dict[str, str], int]:
    """`{clip id: "unseen"}`, and the number of clips left out because VGGSound has their video."""
    splits = {row.clip_id: "unseen" for row in rows if row.video_id not in vggsound_videos}
    return splits, len(rows) - len(splits)


def check_split_sizes(
    labels: Iterable[str], label_splits: Iterable[tuple[str, str]], analysis_clips_per_label: int, context: str
) -> None:
    """CatalogError where one of `labels` has no finetune or no analysis clip: neither gap nor switch could know it.

    `clips` are pairs of label and split; `when` ends the sentence, e.g. "in the list".
    """
    have = Counter(label_splits)
    for label in sorted(labels):
        finetune, analysed = have[label, "finetune"], have[label, "analysis"]
        if not finetune or not analysed:
            raise CatalogError(
                f"label {label!r} has too few train clips {context}: {analysed} for analysis, where "
                f"curate.analysis_clips_a_label is {analysis_clips_per_label}, and {finetune} for finetuning; each needs one at least: "
                "add clips of it, lower curate.analysis_clips_a_label, or take the label out of the list"
            )


def _hash(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
