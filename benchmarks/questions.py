"""Time to draw 178,000 questions: `draw_questions` compared with a loop of numpy.random.choice calls.

Labels and their frequencies are those of VGGSound. Each variant runs in its own process, so that peak memory is
separate; both return a table of the same schema.

examples:
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
    """Make clips of the 286 labels at their published frequencies.

    Args:
        count: Number of clips.

    Returns:
        Clips (schemas.CLIP), and the frequency of each label.
    """
    counts = published_lists.read_label_counts()
    frequencies = {label: number for label, number in sorted(counts.items()) if "," not in label}
    weights = np.array(list(frequencies.values()), float)
    labels = np.random.default_rng(0).choice(list(frequencies), count, p=weights / weights.sum())
    video_ids = [f"{n:011d}" for n in range(count)]
    columns = {
        "clip_id": [f"{video_id}_000010" for video_id in video_ids],
        "video_id": video_ids,
        "dataset": ["vggsound"] * count,
        "labels": [[str(label)] for label in labels],
        "split": ["finetune"] * count,
        "shard": [0] * count,
        "row": range(count),
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in schemas.CLIP}), frequencies


def draw_vectorized(clips: pa.Table, frequencies: dict[str, int]) -> pa.Table:
    """Draw questions as the stage make_questions does."""
    return sampling.draw_questions(clips, 0, 10, "frequency", {"vggsound": frequencies})


def draw_in_loop(clips: pa.Table, frequencies: dict[str, int]) -> pa.Table:
    """Draw questions one by one, with a generator per clip, so that questions are independent."""
    names, weights = list(frequencies), np.array(list(frequencies.values()), float)
    rows = []
    for clip in clips.to_pylist():
        rng = np.random.default_rng(sampling._hash(clip["clip_id"]))
        probs = weights * [name not in clip["labels"] for name in names]
        distractors = rng.choice(len(names), 9, replace=False, p=probs / probs.sum())
        options, target = [names[n] for n in distractors], int(rng.integers(10))
        options.insert(target, clip["labels"][0])
        rows.append({"question_id": clip["clip_id"] + "-q", "clip_id": clip["clip_id"], "split": clip["split"],
                     "options": options, "target": target})  # fmt: skip
    return schemas.from_rows(rows, schemas.QUESTION, "questions")


LOOP = "numpy.random.choice in a loop"
VARIANTS = {"synesthesia": draw_vectorized, LOOP: draw_in_loop}


def measure(variant: str, count: int) -> None:
    """Print seconds and peak memory in bytes of one variant; runs in its own process."""
    clips, frequencies = make_clips(count)
    start = time.perf_counter()
    questions = VARIANTS[variant](clips, frequencies)
    seconds = time.perf_counter() - start
    assert questions.num_rows == count
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=178_000)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        measure(args.variant, args.clips)
        return
    print(f"| {args.clips:,} questions | seconds | peak memory of the process | speed-up |\n|---|---|---|---|")
    results = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--clips", str(args.clips), "--variant", variant]
        seconds, peak = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        results[variant] = seconds, peak
    baseline = results[LOOP][0]
    for variant, (seconds, peak) in results.items():
        print(f"| {variant} | {seconds:.1f} | {peak / 2**20:,.0f} MiB | x {baseline / seconds:.1f} |")


if __name__ == "__main__":
    main()
