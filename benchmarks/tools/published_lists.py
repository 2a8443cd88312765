"""The published lists at their real size, for tests and benchmarks.

VGGSound's test list, its label counts, and AudioSet's labels are the published files. The authors' `vggsound.csv` is
not included: `write_vggsound` writes a replacement with the real test rows, and as many generated train rows per label
as the counts require. `write_audioset` generates an `eval_segments.csv` from the real labels.
"""

import csv
import lzma
import random
from collections import Counter
from pathlib import Path

LISTS = Path(__file__).parents[2] / "tests/data"
AUDIOSET_LABELS = LISTS / "audioset_labels_527.csv"


def read_label_counts() -> dict[str, int]:
    """Return `{label: number of clips}` for VGGSound's 309 labels."""
    with open(LISTS / "vggsound_stat.csv", encoding="utf-8", newline="") as file:
        return {label: int(count) for label, count, _ in csv.reader(file)}


def read_test_list() -> str:
    """Return VGGSound's test list as published, 15,446 rows."""
    return lzma.decompress((LISTS / "vggsound_test_whole.csv.xz").read_bytes()).decode()


def write_vggsound(path: Path) -> Path:
    """Write a replacement for vggsound.csv, 199,176 rows; some train videos have two clips, some also a test clip."""
    test = list(csv.reader(read_test_list().splitlines()))
    test_counts = Counter(label for _, label in test)
    rows = [(name[:11], int(name[12:18]), label, "test") for name, label in test]
    number = 0
    for label, count in read_label_counts().items():
        for _ in range(count - test_counts[label]):
            rows.append((f"train{number // 2 if number % 50 == 1 else number:06d}", 10 * (number % 40), label, "train"))
            number += 1
    random.Random(0).shuffle(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_audioset(path: Path, num_clips: int = 17_000) -> Path:
    """Write a replacement for eval_segments.csv: one to six of the 527 labels per clip, frequent ones more often."""
    rng = random.Random(0)
    with open(AUDIOSET_LABELS, encoding="utf-8", newline="") as file:
        mids = [mid for _, mid, _ in list(csv.reader(file))[1:]]
    weights = [1 / (n + 3) for n in range(len(mids))]
    lines = ["# Segments csv", "# generated", "# YTID, start_seconds, end_seconds, positive_labels"]
    for number in range(num_clips):
        clip_mids = dict.fromkeys(rng.choices(mids, weights, k=rng.randint(1, 6)))
        clip_mids[mids[number % len(mids)]] = None
        lines.append(f'eval{number:07d}, 30.000, 40.000, "{",".join(clip_mids)}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
