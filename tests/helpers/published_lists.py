"""The published lists at their real size, for tests and benchmarks.

VGGSound's test list, its label counts and AudioSet's labels are the published files. The authors' `vggsound.csv` is not
in here: `vggsound` writes a stand-in with the real test rows, and as many made-up train rows of each label as the
counts leave. AudioSet's `eval_segments.csv` is made up likewise, of the real labels.
"""

import csv
import lzma
import random
from collections import Counter
from pathlib import Path

LISTS = Path(__file__).parents[1] / "data"
AUDIOSET_LABELS = LISTS / "audioset_labels_527.csv"


def stat() -> dict[str, int]:
    """`{label: clips in all}`, 309 labels."""
    with open(LISTS / "vggsound_stat.csv", encoding="utf-8", newline="") as file:
        return {label: int(count) for label, count, _ in csv.reader(file)}


def test_list() -> str:
    """VGGSound's test list as published, 15,446 rows."""
    return lzma.decompress((LISTS / "vggsound_test_whole.csv.xz").read_bytes()).decode()


def vggsound(path: Path) -> Path:
    """Write the stand-in for vggsound.csv, 199,176 rows; some train videos have two clips, some a test clip as well."""
    test = list(csv.reader(test_list().splitlines()))
    tested = Counter(label for _, label in test)
    rows = [(name[:11], int(name[12:18]), label, "test") for name, label in test]
    number = 0
    for label, count in stat().items():
        for _ in range(count - tested[label]):
            rows.append((f"train{number // 2 if number % 50 == 1 else number:06d}", 10 * (number % 40), label, "train"))
            number += 1
    random.Random(0).shuffle(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def audioset(path: Path, clips: int = 17_000) -> Path:
    """Write a stand-in for eval_segments.csv: one to six of the 527 labels a clip, frequent ones more often."""
    rng = random.Random(0)
    with open(AUDIOSET_LABELS, encoding="utf-8", newline="") as file:
        mids = [mid for _, mid, _ in list(csv.reader(file))[1:]]
    weights = [1 / (n + 3) for n in range(len(mids))]
    lines = ["# Segments csv", "# made up", "# YTID, start_seconds, end_seconds, positive_labels"]
    for number in range(clips):
        own = dict.fromkeys(rng.choices(mids, weights, k=rng.randint(1, 6)))
        own[mids[number % len(mids)]] = None
        lines.append(f'eval{number:07d}, 30.000, 40.000, "{",".join(own)}"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
