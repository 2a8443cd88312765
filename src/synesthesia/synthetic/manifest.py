"""Manifest of the synthetic dataset: clip ids, labels, splits, and which clips are corrupt, unlisted or missing.

Each clip follows from the seed, its list, its label and its index alone, so a larger dataset contains the clips of a
smaller one unchanged.
"""

import csv
import hashlib
import io
from dataclasses import dataclass, replace

from synesthesia.synthetic.clips import clip_rng
from synesthesia.synthetic.labels import (
    AUDIO_BETTER,
    AUDIOSET_ROWS,
    BALANCED,
    MAIN_CLASSES,
    MULTI_NAME_CLASSES,
    UNSEEN_CLASSES,
    VISUAL_BETTER,
    SoundClass,
)

VIDEO_ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# drawn by index: the order is part of the dataset
CORRUPTIONS = ("truncated", "empty", "no audio", "no video", "too short", "image", "text")


@dataclass(frozen=True)
class ClipCounts:
    """Size of a dataset.

    Attributes:
        train: Mean number of train clips per main label.
        test: Number of test clips per main label.
        multi_name: Number of clips per label that lists multiple names.
        audioset: Number of AudioSet-like clips.
        labels_per_group: Number of main labels per group, 1 to 10.
        corrupt_fraction: Expected fraction of corrupt files, 0 to 1.
    """

    train: int = 44
    test: int = 16
    multi_name: int = 20
    audioset: int = 240
    labels_per_group: int = 10
    corrupt_fraction: float = 0.02


@dataclass(frozen=True)
class ClipSpec:
    """One clip to generate.

    Attributes:
        folder: Folder below the root of the dataset.
        video_id: Invented YouTube id, 11 characters.
        start_seconds: Start of the clip within its video.
        labels: One VGGSound label, or the display names of an AudioSet clip.
        split: "train", "test" or "eval".
        class_name: Sound class to render.
        second_class: Sound class that replaces the first partway, or None.
        corruption: One of `CORRUPTIONS`, or None for an intact file.
        n_listings: Number of rows for this clip in the list.
        has_file: Whether the file exists.
    """

    folder: str
    video_id: str
    start_seconds: int
    labels: tuple[str, ...]
    split: str
    class_name: str
    second_class: str | None = None
    corruption: str | None = None
    n_listings: int = 1
    has_file: bool = True

    @property
    def clip_id(self) -> str:
        """Clip id, `<video id>_<start, six digits>`."""
        return f"{self.video_id}_{self.start_seconds:06d}"

    @property
    def path(self) -> str:
        """Path of the file below the root of the dataset."""
        return f"{self.folder}/{self.clip_id}.mp4"


def _draw_video_id(seed: int, key: str, index: int) -> tuple[str, int, bool]:
    """Draw video id, start second, and whether the clip shares its video with the clip before."""
    rng = clip_rng(seed, f"{key}|{index}", "name")
    wants_sharing = bool(rng.random() < 0.05)
    video_id = "".join(VIDEO_ID_ALPHABET[k] for k in rng.integers(0, 64, 11))
    start = int(rng.integers(0, 40)) * 10
    if index and wants_sharing:
        previous_id, previous_start, previous_shares = _draw_video_id(seed, key, index - 1)
        if not previous_shares:
            return previous_id, previous_start + 10 + start, True
    return video_id, start, False


def _draw_corruption(seed: int, clip_id: str, corrupt_fraction: float) -> str | None:
    rng = clip_rng(seed, clip_id, "damage")
    return CORRUPTIONS[int(rng.integers(len(CORRUPTIONS)))] if rng.random() < corrupt_fraction else None


def _class_clips(seed: int, sound_class: SoundClass, split: str, count: int, corrupt_fraction: float) -> list[ClipSpec]:
    name, clips = sound_class.name, []
    for index in range(count):
        video_id, start, _ = _draw_video_id(seed, f"{name}|{split}", index)
        corruption = _draw_corruption(seed, f"{video_id}_{start:06d}", corrupt_fraction)
        clips.append(ClipSpec("vggsound", video_id, start, (name,), split, name, corruption=corruption))
    return clips


def _draw_train_count(seed: int, sound_class: SoundClass, mean: int) -> int:
    """Draw the number of train clips of a label: up to 30 % from the mean, since VGGSound's train split is uneven."""
    if not mean:
        return 0
    return max(1, round(mean * clip_rng(seed, sound_class.name, "frequency").uniform(0.7, 1.3)))


def vggsound_clips(seed: int, counts: ClipCounts) -> list[ClipSpec]:
    """List the clips of the VGGSound-like part.

    Train counts differ by up to 30 % between labels. If clips may be corrupt, one train clip each has no file, is
    listed twice, and is not listed.

    Args:
        seed: Seed of the dataset.
        counts: Size of the dataset.

    Returns:
        Clips sorted by id.
    """
    groups = ([c for c in MAIN_CLASSES if c.group == group] for group in (BALANCED, AUDIO_BETTER, VISUAL_BETTER))
    main_classes = [sound_class for group in groups for sound_class in group[: counts.labels_per_group]]
    clips = []
    for sound_class in main_classes:
        n_train = _draw_train_count(seed, sound_class, counts.train)
        clips += _class_clips(seed, sound_class, "train", n_train, counts.corrupt_fraction)
        clips += _class_clips(seed, sound_class, "test", counts.test, counts.corrupt_fraction)
    for sound_class in MULTI_NAME_CLASSES if counts.multi_name else ():
        n_test = counts.multi_name // 4
        clips += _class_clips(seed, sound_class, "train", counts.multi_name - n_test, counts.corrupt_fraction)
        clips += _class_clips(seed, sound_class, "test", n_test, counts.corrupt_fraction)
    clips.sort(key=lambda c: c.clip_id)
    multi_name_labels = {c.name for c in MULTI_NAME_CLASSES}
    intact = [
        i
        for i, c in enumerate(clips)
        if c.split == "train" and not c.corruption and c.labels[0] not in multi_name_labels
    ]
    shuffled = sorted(intact, key=lambda i: hashlib.sha256(f"{seed}|{clips[i].clip_id}".encode()).digest())
    if counts.corrupt_fraction and len(intact) > 3:
        missing, duplicated, unlisted = shuffled[:3]
        clips[missing] = replace(clips[missing], has_file=False)
        clips[duplicated] = replace(clips[duplicated], n_listings=2)
        clips[unlisted] = replace(clips[unlisted], n_listings=0)
    return clips


def audioset_clips(seed: int, counts: ClipCounts) -> list[ClipSpec]:
    """List the AudioSet-like clips: one to three labels each, four fifths of classes that the VGGSound part lacks.

    Args:
        seed: Seed of the dataset.
        counts: Size of the dataset.

    Returns:
        Clips sorted by id.
    """
    clips = []
    for index in range(counts.audioset):
        rng = clip_rng(seed, f"audioset|{index}", "plan")
        first = (
            MAIN_CLASSES[int(rng.integers(len(MAIN_CLASSES)))]
            if rng.random() < 0.2
            else UNSEEN_CLASSES[index % len(UNSEEN_CLASSES)]
        )
        second = UNSEEN_CLASSES[int(rng.integers(len(UNSEEN_CLASSES)))] if rng.random() < 0.2 else None
        names = [first.audioset_names[0]] + [n for n in first.audioset_names[1:] if rng.random() < 0.5]
        if second is first:
            second = None
        if second:
            names = [*names[:2], second.audioset_names[0]]
        video_id, start, _ = _draw_video_id(seed, f"audioset {index}", 0)
        corruption = _draw_corruption(seed, f"{video_id}_{start:06d}", counts.corrupt_fraction)
        labels = tuple(dict.fromkeys(names))[:3]
        second_name = second.name if second else None
        clips.append(ClipSpec("audioset/clips", video_id, start, labels, "eval", first.name, second_name, corruption))
    return sorted(clips, key=lambda c: c.clip_id)


def vggsound_csv(clips: list[ClipSpec]) -> str:
    """Format `vggsound.csv`, as published: no header; video id, start second, label, split.

    Args:
        clips: Clips of the VGGSound-like part.

    Returns:
        Text of the file; a label with a comma is quoted.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for c in clips:
        for _ in range(c.n_listings):
            writer.writerow([c.video_id, c.start_seconds, c.labels[0], c.split])
    return out.getvalue()


def audioset_csv(clips: list[ClipSpec]) -> str:
    """Format `eval_segments.csv`, as published: three comment lines, then id, start, end and quoted mids.

    Args:
        clips: AudioSet-like clips.

    Returns:
        Text of the file.
    """
    labels = {name for c in clips for name in c.labels}
    lines = [
        "# Segments csv of the embedded world (synthetic clips)",
        f"# num_ytids={len({c.video_id for c in clips})}, num_segs={len(clips)}, num_unique_labels={len(labels)}, "
        f"num_positive_labels={sum(len(c.labels) for c in clips)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    for c in clips:
        mids = ",".join(AUDIOSET_ROWS[name][1] for name in c.labels)
        lines.append(f'{c.video_id}, {c.start_seconds:.3f}, {c.start_seconds + 10:.3f}, "{mids}"')
    return "\n".join(lines) + "\n"


def class_labels_csv() -> str:
    """Format `class_labels_indices.csv`: AudioSet's rows of the names in use, display names quoted.

    Returns:
        Text of the file, sorted by AudioSet's index.
    """
    rows = sorted((index, mid, name) for name, (index, mid) in AUDIOSET_ROWS.items())
    return "index,mid,display_name\n" + "".join(f'{index},{mid},"{name}"\n' for index, mid, name in rows)
