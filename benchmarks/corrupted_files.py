"""Two thousand damaged copies of a clip, a good one after each: what becomes of them, and what they cost.

Every file is decoded as curate does: in a worker with limits of time, processor time and address space. The kinds of
damage are those of tests/helpers/corrupted_files.py. Ends with an error where a good file was lost.

examples:
  python benchmarks/hostile.py                 four minutes on two busy cores
  python benchmarks/hostile.py --files 200     a tenth of them
  python benchmarks/hostile.py --clip MY.mp4   copies of your own clip
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm  # noqa: E402

from synesthesia.data import media
from synesthesia.data.decode_jobs import FILE_MEMORY_LIMIT, FILE_TIMEOUT, PRELOAD  # noqa: E402
from synesthesia.utils import sandboxed_pool  # noqa: E402
from tests.helpers import video_files  # noqa: E402
from tests.helpers.corrupted_files import mutants  # noqa: E402


def attempt(path: str, **settings) -> tuple[str, float]:
    """What becomes of a file, and in how many seconds."""
    begin = time.perf_counter()
    try:
        media.decode(path, **settings)
        told = "whole"
    except media.MediaError as error:
        told = error.reason
    return told, time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="damaged copies (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    parser.add_argument("--clip", type=Path, help="an MP4 (default: one is made, 160 x 120, 10 frames a second)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        good = video_files.make(
            folder / "good.mp4", size=(64, 48), fps=5
        )  # quickly decoded: half of all files are this one
        whole = given.clip or video_files.make(
            folder / "whole.mp4", size=(160, 120), fps=10, rate=44100, layout="stereo"
        )
        kinds, paths = [], []
        for number, (kind, data) in enumerate(mutants(whole.read_bytes(), given.files, given.seed)):
            path = folder / f"{number}.mp4"
            path.write_bytes(data)
            kinds.append(kind)
            paths += [str(path), str(good)]
        begin = time.perf_counter()
        work = partial(attempt, **video_files.PARAMS)
        limits = {"seconds": FILE_TIMEOUT, "memory_bytes": FILE_MEMORY_LIMIT}
        with sandboxed_pool.SandboxedPool(work, sandboxed_pool.cpu_count(), **limits, preload=PRELOAD) as pool:
            answers = list(tqdm(pool.map(paths), total=len(paths), unit="file", desc="hostile"))
        seconds = time.perf_counter() - begin
    lost = [answer for answer in answers if isinstance(answer, sandboxed_pool.WorkerFailure)]
    told = [("timed out or crashed", 0.0) if isinstance(a, sandboxed_pool.WorkerFailure) else a for a in answers]
    table = Counter(zip(kinds, (reason for reason, _ in told[::2]), strict=True))
    reasons = sorted({reason for _, reason in table})
    print(f"| damage | {' | '.join(reasons)} |\n|---|{'---|' * len(reasons)}")
    for kind in dict.fromkeys(kinds):
        print(f"| {kind.replace('_', ' ')} | {' | '.join(str(table[kind, reason]) for reason in reasons)} |")
    kept = sum(reason == "whole" for reason, _ in told[1::2])
    print(
        f"good files kept: {kept} of {given.files}; workers lost: {len(lost)} ({', '.join({a.reason for a in lost})})"
    )
    print(f"{seconds:.0f} s in all, the slowest damaged file {max(took for _, took in told[::2]):.2f} s, ", end="")
    print(f"the slowest good one {max(took for _, took in told[1::2]):.2f} s")
    if kept < given.files:
        sys.exit("bench: good files were lost")


if __name__ == "__main__":
    main()
