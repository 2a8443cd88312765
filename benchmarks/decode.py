"""Decoding throughput: the project's one-pass decoder compared with the `ffmpeg` command line with the same outputs.

Both decode the same clips in alternation, one thread each, to 16 kHz mono audio and ten JPEGs of at most `--max-pixels`
(the benchmark reports whether both select the same frames). The command line is called once per clip.
A third row is libavcodec's rate for all frames without output, the upper bound of a program that decodes every frame.
CPU seconds are valid on a busy machine too. The clips are generated to resemble VGGSound's
(benchmarks/tools/realistic_clips.py), or taken from a folder.

examples:
  python benchmarks/decode.py                      generates nine clips of 240 to 720 lines; two minutes
  python benchmarks/decode.py FOLDER --clips 100   your own clips
  python benchmarks/decode.py --keep FOLDER        generates the clips there and keeps them
  python benchmarks/decode.py --without-ffmpeg     if the command line is not installed
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
from tools import realistic_clips

from synesthesia.data import media
from synesthesia.data.media import container, frames, images
from synesthesia.utils import sandboxed_pool

SETTINGS = {
    "sample_rate": 16000,
    "clip_seconds": 10.0,
    "min_seconds": 8.0,
    "frames_per_second": 1.0,
    "jpeg_quality": 92,
}
TARGET_TIMES = [float(k) for k in range(10)]
VGGSOUND_CLIPS = 199_176  # in the published list
CORE_COUNTS = (1, 2, 8, 32, 64)


def run_ffmpeg(path: Path, size: tuple[int, int], folder: Path, extension: str = "jpg") -> None:
    """Call ffmpeg with both outputs and one thread. Chroma is on the left, H.264's default (annex E)."""
    audio = ["-t", "10", "-ac", "1", "-ar", "16000", f"{folder}/audio.wav"]
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:in_h_chr_pos=0:in_v_chr_pos=128" + (
        ",format=rgb24" if extension == "png" else ""
    )
    filters = f"select='gte(t+1e-3,selected_n)',{scale}"
    video = ["-t", "10", "-vf", filters, "-vsync", "passthrough", "-q:v", "2", f"{folder}/%02d.{extension}"]
    command = ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-filter_threads", "1", "-i", str(path)]
    subprocess.run([*command, *audio, "-threads", "1", *video], check=True, stdin=subprocess.DEVNULL)


def decode_all(path: Path) -> None:
    """Decode every frame of the video by libavcodec, without output."""
    with av.open(str(path)) as input_container:
        stream = input_container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in input_container.decode(stream):
            pass


def count_packets(path: Path) -> tuple[int, int]:
    """Return the number of decoded video packets and of all video packets of the clip."""
    with container.open_container(path) as input_container:
        video, _ = container.read_packets(input_container, SETTINGS["clip_seconds"])
        timestamps = frames.select_timestamps(video, TARGET_TIMES, SETTINGS["clip_seconds"])
        packets = frames.select_packets(video, set(timestamps)) if timestamps else video.packets
        return len(packets), len(video.packets)


def compare_frames(path: Path, size: tuple[int, int], folder: Path) -> tuple[int, int]:
    """Return how many of the ten frames match the command line's, and the largest pixel difference (of 255).

    A wrong frame would differ by tens in most pixels.
    """
    run_ffmpeg(path, size, folder, "png")
    with container.open_container(path) as input_container:
        video, _ = container.read_packets(input_container, SETTINGS["clip_seconds"])
        scaler, selected = VideoReformatter(), frames.select_frames(video, TARGET_TIMES, SETTINGS["clip_seconds"])
        decoded = [images.apply_display_matrix(frame, size, scaler).astype(int) for frame in selected]
    expected = [np.asarray(Image.open(file).convert("RGB")).astype(int) for file in sorted(folder.glob("*.png"))]
    differences = [np.abs(a - b) for a, b in zip(decoded, expected, strict=True)]
    return sum(d.mean() < 1 for d in differences), max(int(d.max()) for d in differences)


def find_usable_clips(folder: Path, count: int, decode: Callable) -> dict[Path, tuple[int, int]]:
    """Return the first `count` files of the folder that decode, with the size of their frames."""
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
    """Wall-clock and CPU seconds, of this process and the children it waited for."""

    wall: float
    cpu: float


def measure(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, Cost]:
    """Return the minimum cost of each row over `rounds` alternating rounds."""
    measured: dict[str, list[Cost]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, func in rows.items():
            start, before = time.perf_counter(), os.times()
            func()
            after = os.times()
            measured[name].append(Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4])))
    return {
        name: Cost(min(cost.wall for cost in costs), min(cost.cpu for cost in costs))
        for name, costs in measured.items()
    }


def compare(sizes: dict[Path, tuple[int, int]], decode: Callable, rounds: int, has_ffmpeg: bool, tmp: Path) -> float:
    """Print the table; return this project's CPU seconds per clip."""
    paths = [*sizes] * max(1, 18 // len(sizes))  # enough for an even split between two processes
    folders = [tmp / str(n) for n in range(2)]
    for folder in folders:
        folder.mkdir()

    def run_half(index: int) -> None:
        for path in paths[index::2]:
            run_ffmpeg(path, sizes[path], folders[index])

    def run_both_halves() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(run_half, range(2)))

    with sandboxed_pool.SandboxedPool(
        decode, 2, timeout=60, memory_bytes=2 << 30, preload=["synesthesia.data.media"]
    ) as pool:
        rows = {
            "ffmpeg command line": lambda: [run_ffmpeg(path, sizes[path], folders[0]) for path in paths],
            "ffmpeg command line, two processes": run_both_halves,
            "libavcodec, every frame, no output": lambda: [decode_all(path) for path in paths],
            "synesthesia, one process": lambda: [decode(path) for path in paths],
            "synesthesia, two processes": lambda: list(pool.map(str(path) for path in paths)),
        }
        if not has_ffmpeg:
            rows = {name: func for name, func in rows.items() if not name.startswith("ffmpeg")}
        costs = measure(rows, rounds)
    base = next(iter(costs.values()))
    print("| one thread per process | clips/s | ratio | CPU s per clip | ratio |\n|---|---|---|---|---|")
    for name, cost in costs.items():
        cpu = f"{cost.cpu / len(paths):.3f} | {base.cpu / cost.cpu:.2f}"
        if name == "synesthesia, two processes":
            cpu = " | "  # spent in workers that are still running
        print(f"| {name} | {len(paths) / cost.wall:.2f} | {base.wall / cost.wall:.2f} | {cpu} |")
    return costs["synesthesia, one process"].cpu / len(paths)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of clips (default: generated ones)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to generate clips and keep them")
    parser.add_argument("--clips", type=int, default=40, help="maximum number of clips (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds per row; the minimum counts (default: %(default)s)"
    )
    parser.add_argument(
        "--max-pixels", type=int, default=262144, help="maximum pixels of a frame (default: the paper's)"
    )
    parser.add_argument("--without-ffmpeg", action="store_true", help="skip the command line's rows")
    args = parser.parse_args()
    has_ffmpeg = not args.without_ffmpeg
    if has_ffmpeg and not shutil.which("ffmpeg"):
        sys.exit("bench: no ffmpeg to compare with: apt-get install ffmpeg, or --without-ffmpeg")
    decode = partial(media.decode, **SETTINGS, max_pixels=args.max_pixels)
    with tempfile.TemporaryDirectory() as tmp:
        folder = args.folder or args.keep or Path(tmp) / "clips"
        if not args.folder:
            folder.mkdir(parents=True, exist_ok=True)
            realistic_clips.write_all(folder)
        sizes = find_usable_clips(folder, args.clips, decode)
        if not sizes:
            sys.exit(f"bench: no usable clip in {folder}: name a folder of clips")
        num_decoded, num_packets = (sum(column) for column in zip(*map(count_packets, sizes), strict=True))
        print(f"{len(sizes)} clips, {os.cpu_count()} CPUs, PyAV {av.__version__}, best of {args.rounds} rounds")
        print(f"decoded: {num_decoded} of {num_packets} video packets ({num_decoded / num_packets:.0%})")
        if has_ffmpeg:
            pairs = []
            for number, (path, size) in enumerate(sizes.items()):
                png_folder = Path(tmp) / f"png-{number}"
                png_folder.mkdir()
                pairs.append(compare_frames(path, size, png_folder))
            print(f"matching frames: {sum(n for n, _ in pairs)} of {10 * len(sizes)}, ", end="")
            print(f"largest pixel difference {max(d for _, d in pairs)} of 255")
        seconds = compare(sizes, decode, args.rounds, has_ffmpeg, Path(tmp))
    print(
        f"\n| cores | hours for VGGSound's {VGGSOUND_CLIPS:,} clips at {1 / seconds:.2f} clips/s per core |\n|---|---|"
    )
    for cores in CORE_COUNTS:
        print(f"| {cores} | {VGGSOUND_CLIPS * seconds / cores / 3600:.1f} |")


if __name__ == "__main__":
    main()
