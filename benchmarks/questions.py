"""178,000 questions: this project's drawing against the loop one would write, a numpy.random.choice a question.

Labels and their frequencies are VGGSound's own. Each way runs in a process of its own, so that the peak memory is its
alone; the table that both end with has the same schema.

    python benchmarks/questions.py
    python benchmarks/questions.py --clips 20000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
from tools import published_lists

from synesthesia import schemas
from synesthesia.questions import sampling


def make_clips(count: int) -> tuple[pa.Table, dict[str, int]]:
    """A CLIP table of so many clips of the 286 labels, as often as they really occur, and their frequencies."""
    counts = published_lists.read_label_counts()
    frequencies = {label: number for label, number in sorted(counts.items()) if "," not in label}
    weights = np.array(list(frequencies.values()), float)
    labels = np.random.default_rng(0).choice(list(frequencies), count, p=weights / weights.sum())
    names = [f"{n:011d}" for n in range(count)]
    columns = {
        "clip_id": [f"{name}_000010" for name in names],
        "video_id": names,
        "dataset": ["vggsound"] * count,
        "labels": [[str(label)] for label in labels],
        "split": ["finetune"] * count,
        "shard": [0] * count,
        "row": range(count),
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in schemas.CLIP}), frequencies


def ours(table: pa.Table, frequencies: dict[str, int]) -> pa.Table:
    """What the stage ask does."""
    return sampling.draw_questions(table, 0, 10, "frequency", {"vggsound": frequencies})


def loop(table: pa.Table, frequencies: dict[str, int]) -> pa.Table:
    """One numpy.random.choice a question, with a generator seeded from the clip, so no question depends on another."""
    names, weights = list(frequencies), np.array(list(frequencies.values()), float)
    rows = []
    for clip in table.to_pylist():
        rng = np.random.default_rng(sampling._hash(clip["clip_id"]))
        chances = weights * [name not in clip["labels"] for name in names]
        drawn = rng.choice(len(names), 9, replace=False, p=chances / chances.sum())
        options, answer = [names[n] for n in drawn], int(rng.integers(10))
        options.insert(answer, clip["labels"][0])
        rows.append({"question_id": clip["clip_id"] + "-q", "clip_id": clip["clip_id"], "split": clip["split"],
                     "options": options, "target": answer})  # fmt: skip
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


WAYS = {"synesthesia": ours, "numpy.random.choice in a loop": loop}


def measure(way: str, count: int) -> None:
    """Print seconds and the most memory of one way; runs in a process of its own."""
    table, frequencies = make_clips(count)
    begin = time.perf_counter()
    drawn = WAYS[way](table, frequencies)
    seconds = time.perf_counter() - begin
    assert drawn.num_rows == count
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=178_000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        measure(given.way, given.clips)
        return
    print(f"| {given.clips:,} questions | seconds | peak memory, whole process | against the loop |\n|---|---|---|---|")
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--clips", str(given.clips), "--way", way]
        seconds, peak = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        found[way] = seconds, peak
    slowest = found["numpy.random.choice in a loop"][0]
    for way, (seconds, peak) in found.items():
        print(f"| {way} | {seconds:.1f} | {peak / 2**20:,.0f} MiB | x {slowest / seconds:.1f} |")


if __name__ == "__main__":
    main()
