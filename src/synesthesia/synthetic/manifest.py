"""Which clips a world has: their ids, labels, splits, and what is wrong with the few that are damaged.

Each clip follows from the seed, its list, its label and its number alone, so a larger world contains a smaller one's
clips unchanged.
"""

import csv
import hashlib
import io
from dataclasses import dataclass

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
CORRUPTIONS = ("truncated", "empty", "no sound", "no picture", "too short", "an image", "a text")


@dataclass(frozen=True)
class ClipCounts:
    """How large a world is: clips a main label in train (on average) and test, a several-name label, and AudioSet's."""

    train: int = 44
    test: int = 16
    multi_name: int = 20
    audioset: int = 240
    labels_per_group: int = 10  # main labels of each regime
    corrupt_fraction: float = 0.02  # share of damaged files


@dataclass(frozen=True)
class ClipSpec:
    """One clip that will be made. `labels`: one VGGSound label, or the display names of an AudioSet clip."""

    folder: str
    video_id: str
    start_seconds: int
    labels: tuple[str, ...]
    split: str
    class_name: str
    second_class: str | None = None
    corruption: str | None = None
    n_listings: int = 1  # how often the list names it
    has_file: bool = True  # whether the file is there

    @property
    def clip_id(self) -> str:
        return f"{self.video_id}_{self.start_seconds:06d}"

    @property
    def path(self) -> str:
        """The file's path below the world's folder."""
        return f"{self.folder}/{self.clip_id}.mp4"


def _draw_video_id(seed: int, key: str, index: int) -> tuple[str, int, bool]:
    """A clip's video id, start second, and whether it shares the video with the clip before."""
    rng = clip_rng(seed, f"{key}|{index}", "name")
    again, video = bool(rng.random() < 0.05), "".join(VIDEO_ID_ALPHABET[k] for k in rng.integers(0, 64, 11))
    start = int(rng.integers(0, 40)) * 10
    if index and again:
        before, begun, shared = _draw_video_id(seed, key, index - 1)
        if not shared:
            return before, begun + 10 + start, True
    return video, start, False


def _draw_corruption(seed: int, clip_id: str, corrupt_fraction: float) -> str | None:
    rng = clip_rng(seed, clip_id, "damage")
    return CORRUPTIONS[int(rng.integers(len(CORRUPTIONS)))] if rng.random() < corrupt_fraction else None


def _class_clips(seed: int, sound_class: SoundClass, split: str, count: int, corrupt_fraction: float) -> list[ClipSpec]:
    out = []
    for number in range(count):
        video, start, _ = _draw_video_id(seed, f"{sound_class.name}|{split}", number)
        damage = _draw_corruption(seed, f"{video}_{start:06d}", corrupt_fraction)
        out.append(ClipSpec("vggsound", video, start, (sound_class.name,), split, sound_class.name, corruption=damage))
    return out


def vggsound_clips(seed: int, counts: ClipCounts) -> list[ClipSpec]:
    """The clips of the VGGSound-like part, sorted by id. Train counts differ by up to 30 % from label to label."""
    chosen = [
        k for regime in (BALANCED, AUDIO_BETTER, VISUAL_BETTER)
        for k in [k for k in MAIN_CLASSES if k.group == regime][: counts.labels_per_group]
    ]  # fmt: skip
    clips = []
    for kind in chosen:
        many = (
            max(1, round(counts.train * clip_rng(seed, kind.name, "frequency").uniform(0.7, 1.3)))
            if counts.train
            else 0
        )
        clips += _class_clips(seed, kind, "train", many, counts.corrupt_fraction)
        clips += _class_clips(seed, kind, "test", counts.test, counts.corrupt_fraction)
    for kind in MULTI_NAME_CLASSES if counts.multi_name else ():
        test = counts.multi_name // 4
        clips += _class_clips(seed, kind, "train", counts.multi_name - test, counts.corrupt_fraction)
        clips += _class_clips(seed, kind, "test", test, counts.corrupt_fraction)
    clips.sort(key=lambda c: c.clip_id)
    whole = [
        k
        for k, c in enumerate(clips)
        if c.split == "train" and not c.damage and c.labels[0] not in {k.name for k in MULTI_NAME_CLASSES}
    ]
    by_chance = sorted(whole, key=lambda k: hashlib.sha256(f"{seed}|{clips[k].clip_id}".encode()).digest())
    for change, k in zip(({"present": False}, {"listed": 2}, {"listed": 0}), by_chance, strict=False):
        if counts.corrupt_fraction and len(whole) > 3:
            clips[k] = ClipSpec(**{**vars(clips[k]), **change})
    return clips


def audioset_clips(seed: int, counts: ClipCounts) -> list[ClipSpec]:
    """The AudioSet-like clips: one to three labels each, four fifths of them of kinds that VGGSound's part lacks."""
    clips = []
    for number in range(counts.audioset):
        rng = clip_rng(seed, f"audioset|{number}", "plan")
        kind = (
            MAIN_CLASSES[int(rng.integers(len(MAIN_CLASSES)))]
            if rng.random() < 0.2
            else UNSEEN_CLASSES[number % len(UNSEEN_CLASSES)]
        )
        second = UNSEEN_CLASSES[int(rng.integers(len(UNSEEN_CLASSES)))] if rng.random() < 0.2 else None
        names = [kind.audioset_names[0]] + [n for n in kind.audioset_names[1:] if rng.random() < 0.5]
        if second is kind:
            second = None
        if second:
            names = [*names[:2], second.audioset_names[0]]
        video, start, _ = _draw_video_id(seed, f"audioset {number}", 0)
        damage = _draw_corruption(seed, f"{video}_{start:06d}", counts.corrupt_fraction)
        names = tuple(dict.fromkeys(names))[:3]
        clips.append(ClipSpec("audioset/clips", video, start, names, "eval", kind.name, second and second.name, damage))
    return sorted(clips, key=lambda c: c.clip_id)


def vggsound_csv(clips: list[ClipSpec]) -> str:
    """The text of vggsound.csv: no header; video id, start second, label, split; a label with a comma is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for c in clips:
        for _ in range(c.n_listings):
            writer.writerow([c.video_id, c.start_seconds, c.labels[0], c.split])
    return out.getvalue()


def audioset_csv(clips: list[ClipSpec]) -> str:
    """The text of eval_segments.csv: three comment lines, then id, start, end and the labels' mids in quotes."""
    used = {name for c in clips for name in c.labels}
    lines = [
        "# Segments csv of the embedded world (synthetic clips)",
        f"# num_ytids={len({c.video_id for c in clips})}, num_segs={len(clips)}, num_unique_labels={len(used)}, "
        f"num_positive_labels={sum(len(c.labels) for c in clips)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    for c in clips:
        mids = ",".join(AUDIOSET_ROWS[name][1] for name in c.labels)
        lines.append(f'{c.video_id}, {c.start_seconds:.3f}, {c.start_seconds + 10:.3f}, "{mids}"')
    return "\n".join(lines) + "\n"


def class_labels_csv() -> str:
    """The text of class_labels_indices.csv: AudioSet's own rows of the names in use, display names quoted."""
    rows = sorted((index, mid, name) for name, (index, mid) in AUDIOSET_ROWS.items())
    return "index,mid,display_name\n" + "".join(f'{index},{mid},"{name}"\n' for index, mid, name in rows)
