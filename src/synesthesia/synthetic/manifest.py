"""Which clips a world has: their ids, labels, splits, and what is wrong with the few that are damaged.

Each clip follows from the seed, its list, its label and its number alone, so a larger world contains a smaller one's
clips unchanged.
"""

import csv
import hashlib
import io
from dataclasses import dataclass

from synesthesia.synthetic.clips import stream
from synesthesia.synthetic.labels import (
    AUDIOSET_ROWS,
    BETTER_HEARD,
    BETTER_SEEN,
    HEARD_AND_SEEN,
    MAIN,
    OTHERS,
    SEVERAL,
    Kind,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
DAMAGES = ("truncated", "empty", "no sound", "no picture", "too short", "an image", "a text")


@dataclass(frozen=True)
class Counts:
    """How large a world is: clips a main label in train (on average) and test, a several-name label, and AudioSet's."""

    train: int = 44
    test: int = 16
    several: int = 20
    audioset: int = 240
    labels: int = 10  # main labels of each regime
    damaged: float = 0.02  # share of damaged files


@dataclass(frozen=True)
class Planned:
    """One clip that will be made. `labels`: one VGGSound label, or the display names of an AudioSet clip."""

    folder: str
    video: str
    start: int
    labels: tuple[str, ...]
    split: str
    kind: str
    second: str | None = None
    damage: str | None = None
    listed: int = 1  # how often the list names it
    present: bool = True  # whether the file is there

    @property
    def clip_id(self) -> str:
        return f"{self.video}_{self.start:06d}"

    @property
    def path(self) -> str:
        """The file's path below the world's folder."""
        return f"{self.folder}/{self.clip_id}.mp4"


def _naming(seed: int, key: str, number: int) -> tuple[str, int, bool]:
    """A clip's video id, start second, and whether it shares the video with the clip before."""
    rng = stream(seed, f"{key}|{number}", "name")
    again, video = bool(rng.random() < 0.05), "".join(ALPHABET[k] for k in rng.integers(0, 64, 11))
    start = int(rng.integers(0, 40)) * 10
    if number and again:
        before, begun, shared = _naming(seed, key, number - 1)
        if not shared:
            return before, begun + 10 + start, True
    return video, start, False


def _damage(seed: int, clip_id: str, share: float) -> str | None:
    rng = stream(seed, clip_id, "damage")
    return DAMAGES[int(rng.integers(len(DAMAGES)))] if rng.random() < share else None


def _labelled(seed: int, kind: Kind, split: str, count: int, share: float) -> list[Planned]:
    out = []
    for number in range(count):
        video, start, _ = _naming(seed, f"{kind.name}|{split}", number)
        damage = _damage(seed, f"{video}_{start:06d}", share)
        out.append(Planned("vggsound", video, start, (kind.name,), split, kind.name, damage=damage))
    return out


def vggsound(seed: int, counts: Counts) -> list[Planned]:
    """The clips of the VGGSound-like part, sorted by id. Train counts differ by up to 30 % from label to label."""
    chosen = [
        k for regime in (HEARD_AND_SEEN, BETTER_HEARD, BETTER_SEEN)
        for k in [k for k in MAIN if k.regime == regime][: counts.labels]
    ]  # fmt: skip
    clips = []
    for kind in chosen:
        many = (
            max(1, round(counts.train * stream(seed, kind.name, "frequency").uniform(0.7, 1.3))) if counts.train else 0
        )
        clips += _labelled(seed, kind, "train", many, counts.damaged)
        clips += _labelled(seed, kind, "test", counts.test, counts.damaged)
    for kind in SEVERAL if counts.several else ():
        test = counts.several // 4
        clips += _labelled(seed, kind, "train", counts.several - test, counts.damaged)
        clips += _labelled(seed, kind, "test", test, counts.damaged)
    clips.sort(key=lambda c: c.clip_id)
    whole = [
        k
        for k, c in enumerate(clips)
        if c.split == "train" and not c.damage and c.labels[0] not in {k.name for k in SEVERAL}
    ]
    by_chance = sorted(whole, key=lambda k: hashlib.sha256(f"{seed}|{clips[k].clip_id}".encode()).digest())
    for change, k in zip(({"present": False}, {"listed": 2}, {"listed": 0}), by_chance, strict=False):
        if counts.damaged and len(whole) > 3:
            clips[k] = Planned(**{**vars(clips[k]), **change})
    return clips


def audioset(seed: int, counts: Counts) -> list[Planned]:
    """The AudioSet-like clips: one to three labels each, four fifths of them of kinds that VGGSound's part lacks."""
    clips = []
    for number in range(counts.audioset):
        rng = stream(seed, f"audioset|{number}", "plan")
        kind = MAIN[int(rng.integers(len(MAIN)))] if rng.random() < 0.2 else OTHERS[number % len(OTHERS)]
        second = OTHERS[int(rng.integers(len(OTHERS)))] if rng.random() < 0.2 else None
        names = [kind.audioset[0]] + [n for n in kind.audioset[1:] if rng.random() < 0.5]
        if second is kind:
            second = None
        if second:
            names = [*names[:2], second.audioset[0]]
        video, start, _ = _naming(seed, f"audioset {number}", 0)
        damage = _damage(seed, f"{video}_{start:06d}", counts.damaged)
        names = tuple(dict.fromkeys(names))[:3]
        clips.append(Planned("audioset/clips", video, start, names, "eval", kind.name, second and second.name, damage))
    return sorted(clips, key=lambda c: c.clip_id)


def vggsound_list(clips: list[Planned]) -> str:
    """The text of vggsound.csv: no header; video id, start second, label, split; a label with a comma is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for c in clips:
        for _ in range(c.listed):
            writer.writerow([c.video, c.start, c.labels[0], c.split])
    return out.getvalue()


def audioset_list(clips: list[Planned]) -> str:
    """The text of eval_segments.csv: three comment lines, then id, start, end and the labels' mids in quotes."""
    used = {name for c in clips for name in c.labels}
    lines = [
        "# Segments csv of the embedded world (synthetic clips)",
        f"# num_ytids={len({c.video for c in clips})}, num_segs={len(clips)}, num_unique_labels={len(used)}, "
        f"num_positive_labels={sum(len(c.labels) for c in clips)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    for c in clips:
        mids = ",".join(AUDIOSET_ROWS[name][1] for name in c.labels)
        lines.append(f'{c.video}, {c.start:.3f}, {c.start + 10:.3f}, "{mids}"')
    return "\n".join(lines) + "\n"


def class_labels() -> str:
    """The text of class_labels_indices.csv: AudioSet's own rows of the names in use, display names quoted."""
    rows = sorted((index, mid, name) for name, (index, mid) in AUDIOSET_ROWS.items())
    return "index,mid,display_name\n" + "".join(f'{index},{mid},"{name}"\n' for index, mid, name in rows)
