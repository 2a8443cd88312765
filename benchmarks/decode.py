"""Clips a second: this project's one pass against the `ffmpeg` command line doing the same two extractions.

Both take the same clips in turns, one thread each, and give 16 kHz mono sound and the same ten pictures of at most
`--max-pixels` as JPEG (checked: the same frames are chosen). The command line is called once a clip, with both
outputs. Beside them: libavcodec's own rate for all frames without any output, which a program that decodes every frame
cannot exceed. Processor seconds hold on a busy machine too. The clips are made first, like VGGSound's
(benchmarks/tools/lifelike.py), or a folder's are taken.

examples:
  python benchmarks/decode.py                      makes nine clips of 240 to 720 lines, two minutes in all
  python benchmarks/decode.py FOLDER --clips 100   your own clips
  python benchmarks/decode.py --keep FOLDER        make the clips there and keep them
  python benchmarks/decode.py --without-ffmpeg     where the command line is not installed
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "tools"))

import lifelike

from synesthesia.data import media
from synesthesia.data.media import container as reading
from synesthesia.data.media import frames, images
from synesthesia.utils import sandboxed_pool

SETTINGS = {"sample_rate": 16000, "clip_seconds": 10.0, "min_seconds": 8.0, "frames_per_second": 1.0, "jpeg_quality": 92}
TARGETS = [float(k) for k in range(10)]
VGGSOUND_CLIPS = 199_176  # in the published list
CORES = (1, 2, 8, 32, 64)


def command_line(path: Path, size: tuple[int, int], folder: Path, kind: str = "jpg") -> None:
    """One call of ffmpeg with both outputs, one thread. Chroma lies on the left, H.264's default (annex E)."""
    sound = ["-t", "10", "-ac", "1", "-ar", "16000", f"{folder}/sound.wav"]
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:in_h_chr_pos=0:in_v_chr_pos=128" + (
        ",format=rgb24" if kind == "png" else ""
    )
    graph = f"select='gte(t+1e-3,selected_n)',{scale}"
    chosen = ["-t", "10", "-vf", graph, "-vsync", "passthrough", "-q:v", "2", f"{folder}/%02d.{kind}"]
    command = ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-filter_threads", "1", "-i", str(path)]
    subprocess.run([*command, *sound, "-threads", "1", *chosen], check=True, stdin=subprocess.DEVNULL)


def decode_all(path: Path) -> None:
    """Every frame of the video through libavcodec, nothing else."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def counted(path: Path) -> tuple[int, int]:
    """How many packets of the clip's video are decoded, of how many."""
    with reading.open_container(path) as container:
        video, _ = reading.read_packets(container, SETTINGS["seconds"])
        wanted = frames.select_timestamps(video, TARGETS, SETTINGS["seconds"])
        return len(frames.select_packets(video, set(wanted)) if wanted else video.packets), len(video.packets)


def same_frames(path: Path, size: tuple[int, int], folder: Path) -> tuple[int, int]:
    """How many of the ten pictures are the command line's, and the largest difference of a pixel in these (of 255).

    Another frame of such a clip differs by tens in most pixels.
    """
    command_line(path, size, folder, "png")
    with reading.open_container(path) as container:
        video, _ = reading.read_packets(container, SETTINGS["seconds"])
        scaler, chosen = VideoReformatter(), frames.select_frames(video, TARGETS, SETTINGS["seconds"])
        ours = [images.apply_display_matrix(frame, size, scaler).astype(int) for frame in chosen]
    theirs = [np.asarray(Image.open(file).convert("RGB")).astype(int) for file in sorted(folder.glob("*.png"))]
    gaps = [np.abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return sum(gap.mean() < 1 for gap in gaps), max(int(gap.max()) for gap in gaps)


def usable(folder: Path, count: int, decode: Callable) -> dict[Path, tuple[int, int]]:
    """The first `count` files of the folder that are whole clips, with the size of their pictures."""
    sizes: dict[Path, tuple[int, int]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if len(sizes) == count:
            break
        try:
            sizes[path] = decode(path).size
        except media.MediaError:
            continue
    return sizes


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and on the processor, of this process and those that it waited for."""

    clock: float
    processor: float


def measured(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, Cost]:
    """The least of `rounds` costs of each, taken in turns."""
    taken: dict[str, list[Cost]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, work in rows.items():
            clock, before = time.perf_counter(), os.times()
            work()
            after = os.times()
            taken[name].append(Cost(time.perf_counter() - clock, sum(after[:4]) - sum(before[:4])))
    return {
        name: Cost(min(cost.clock for cost in costs), min(cost.processor for cost in costs))
        for name, costs in taken.items()
    }


def compare(sizes: dict[Path, tuple[int, int]], decode: Callable, rounds: int, ffmpeg: bool, out: Path) -> float:
    """Print the table; our seconds of processor time for a clip."""
    paths = [*sizes] * max(1, 18 // len(sizes))  # long enough that two processes share evenly
    folders = [out / str(n) for n in range(2)]
    for folder in folders:
        folder.mkdir()

    def calls(which: int) -> None:
        for path in paths[which::2]:
            command_line(path, sizes[path], folders[which])

    def two_calls() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(calls, range(2)))

    with sandboxed_pool.SandboxedPool(
        decode, 2, timeout=60, memory_bytes=2 << 30, preload=["synesthesia.data.media"]
    ) as pool:
        rows = {
            "ffmpeg command line": lambda: [command_line(path, sizes[path], folders[0]) for path in paths],
            "ffmpeg command line, two at a time": two_calls,
            "libavcodec, every frame, no output": lambda: [decode_all(path) for path in paths],
            "synesthesia, one process": lambda: [decode(path) for path in paths],
            "synesthesia, two processes": lambda: list(pool.map(str(path) for path in paths)),
        }
        if not ffmpeg:
            rows = {name: work for name, work in rows.items() if not name.startswith("ffmpeg")}
        costs = measured(rows, rounds)
    base = next(iter(costs.values()))
    print("| one thread a process | clips/s | ratio | processor s a clip | ratio |\n|---|---|---|---|---|")
    for name, cost in costs.items():
        processor = f"{cost.processor / len(paths):.3f} | {base.processor / cost.processor:.2f}"
        if name == "synesthesia, two processes":
            processor = " | "  # spent in processes that go on
        print(f"| {name} | {len(paths) / cost.clock:.2f} | {base.clock / cost.clock:.2f} | {processor} |")
    return costs["synesthesia, one process"].processor / len(paths)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="clips (default: they are made)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to make clips that stay")
    parser.add_argument("--clips", type=int, default=40, help="how many at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each; the best counts (default: %(default)s)")
    parser.add_argument("--max-pixels", type=int, default=262144, help="of a picture (default: the paper's)")
    parser.add_argument("--without-ffmpeg", action="store_true", help="leave the command line's rows out")
    given = parser.parse_args()
    ffmpeg = not given.without_ffmpeg
    if ffmpeg and not shutil.which("ffmpeg"):
        sys.exit("bench: no ffmpeg to compare with: apt-get install ffmpeg, or --without-ffmpeg")
    decode = partial(media.decode, **SETTINGS, max_pixels=given.max_pixels)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or given.keep or Path(scratch) / "clips"
        if not given.folder:
            folder.mkdir(parents=True, exist_ok=True)
            lifelike.make(folder)
        sizes = usable(folder, given.clips, decode)
        if not sizes:
            sys.exit(f"bench: no usable clip in {folder}: name a folder of clips")
        needed, packets = (sum(each) for each in zip(*map(counted, sizes), strict=True))
        print(f"{len(sizes)} clips, {os.cpu_count()} processors, PyAV {av.__version__}, best of {given.rounds} rounds")
        print(f"decoded: {needed} of {packets} video packets ({needed / packets:.0%})")
        if ffmpeg:
            pairs = []
            for number, (path, size) in enumerate(sizes.items()):
                beside = Path(scratch) / f"png-{number}"
                beside.mkdir()
                pairs.append(same_frames(path, size, beside))
            print(f"frames chosen alike: {sum(n for n, _ in pairs)} of {10 * len(sizes)}, ", end="")
            print(f"largest difference of a pixel {max(d for _, d in pairs)} of 255")
        seconds = compare(sizes, decode, given.rounds, ffmpeg, Path(scratch))
    print(f"\n| cores | hours for VGGSound's {VGGSOUND_CLIPS:,} clips at {1 / seconds:.2f} clips/s a core |\n|---|---|")
    for cores in CORES:
        print(f"| {cores} | {VGGSOUND_CLIPS * seconds / cores / 3600:.1f} |")


if __name__ == "__main__":
    main()
