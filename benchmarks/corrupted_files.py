"""Decode two thousand corrupted copies of a clip, each followed by an intact one: outcomes and decoding times.

Every file is decoded as in curate: in a worker with limits on wall-clock time, CPU time, and address space. The kinds
of corruption are those of benchmarks/tools/file_corruption.py. Fails if an intact file is not decoded.

examples:
  python benchmarks/corrupted_files.py                 about four minutes on two cores
  python benchmarks/corrupted_files.py --files 200     a tenth of the copies
  python benchmarks/corrupted_files.py --clip MY.mp4   copies of your own clip
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tools import video_files
from tools.file_corruption import corrupt_copies
from tqdm import tqdm

from synesthesia.data import media
from synesthesia.data.decode_jobs import FILE_MEMORY_LIMIT, FILE_TIMEOUT, PRELOAD
from synesthesia.utils import sandboxed_pool


def try_decode(path: str, **settings) -> tuple[str, float]:
    """Return "decoded" or the reason for rejection, and the elapsed seconds."""
    start = time.perf_counter()
    try:
        media.decode(path, **settings)
        outcome = "decoded"
    except media.MediaError as error:
        outcome = error.reason
    return outcome, time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="corrupted copies (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the corruption (default: %(default)s)")
    parser.add_argument("--clip", type=Path, help="an MP4 (default: a generated one, 160 x 120, 10 frames per second)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        # Every second file is this one; it is small, so that it decodes quickly.
        intact = video_files.write_clip(folder / "intact.mp4", size=(64, 48), fps=5)
        source = args.clip or video_files.write_clip(
            folder / "source.mp4", size=(160, 120), fps=10, sample_rate=44100, layout="stereo"
        )
        kinds, paths = [], []
        for number, (kind, data) in enumerate(corrupt_copies(source.read_bytes(), args.files, args.seed)):
            path = folder / f"{number}.mp4"
            path.write_bytes(data)
            kinds.append(kind)
            paths += [str(path), str(intact)]
        start = time.perf_counter()
        func = partial(try_decode, **video_files.DECODE_PARAMS)
        limits = {"timeout": FILE_TIMEOUT, "memory_bytes": FILE_MEMORY_LIMIT}
        with sandboxed_pool.SandboxedPool(func, sandboxed_pool.cpu_count(), **limits, preload=PRELOAD) as pool:
            results = list(tqdm(pool.map(paths), total=len(paths), unit="file", desc="corrupted files"))
        seconds = time.perf_counter() - start
    failures = [result for result in results if isinstance(result, sandboxed_pool.WorkerFailure)]
    outcomes = [
        ("timed out or crashed", 0.0) if isinstance(result, sandboxed_pool.WorkerFailure) else result
        for result in results
    ]
    corrupted, controls = outcomes[::2], outcomes[1::2]
    counts = Counter(zip(kinds, (outcome for outcome, _ in corrupted), strict=True))
    columns = sorted({outcome for _, outcome in counts})
    print(f"| corruption | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for kind in dict.fromkeys(kinds):
        print(f"| {kind.replace('_', ' ')} | {' | '.join(str(counts[kind, outcome]) for outcome in columns)} |")
    num_decoded = sum(outcome == "decoded" for outcome, _ in controls)
    reasons = ", ".join({failure.reason for failure in failures})
    print(f"intact files decoded: {num_decoded} of {args.files}; workers lost: {len(failures)} ({reasons})")
    print(
        f"{seconds:.0f} s in total; slowest corrupted file {max(elapsed for _, elapsed in corrupted):.2f} s, ", end=""
    )
    print(f"slowest intact file {max(elapsed for _, elapsed in controls):.2f} s")
    if num_decoded < args.files:
        sys.exit("bench: intact files were lost")


if __name__ == "__main__":
    main()
