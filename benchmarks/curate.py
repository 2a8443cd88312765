"""Clips a second: this project's one pass against the `ffmpeg` command line doing the same two extractions.

Both take the same files in turns, in one process and one thread each, and give 16 kHz mono sound and one picture a
second of at most `--largest-pixels`. The command line is called once a file, with both outputs.

    python benchmarks/curate.py                      # data/vggsound, up to 40 clips
    python benchmarks/curate.py FOLDER --clips 100
    python benchmarks/curate.py --made               # makes clips like VGGSound's: 360 to 720 lines, 30 frames a second
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from synesthesia import media

SETTINGS = {"rate": 16000, "seconds": 10.0, "shortest_seconds": 8.0, "frames_per_second": 1.0, "jpeg_quality": 92}


def ours(path: Path, largest_pixels: int) -> None:
    """Decode one file as curate does."""
    media.decode(path, **SETTINGS, largest_pixels=largest_pixels)


def command_line(path: Path, size: tuple[int, int], folder: str) -> None:
    """One call of ffmpeg with both outputs."""
    sound = ["-t", "10", "-ac", "1", "-ar", "16000", f"{folder}/sound.wav"]
    frames = ["-vf", f"fps=1,scale={size[0]}:{size[1]}", "-frames:v", "10", "-q:v", "2", f"{folder}/%02d.jpg"]
    command = ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-filter_threads", "1", "-i", str(path)]
    subprocess.run([*command, *sound, "-threads", "1", *frames], check=True, stdin=subprocess.DEVNULL)


def usable(folder: Path, count: int, largest_pixels: int) -> dict[Path, tuple[int, int]]:
    """The first `count` files of the folder that are whole clips, with the size of their pictures."""
    sizes: dict[Path, tuple[int, int]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if len(sizes) == count:
            break
        try:
            sizes[path] = media.decode(path, **SETTINGS, largest_pixels=largest_pixels).size
        except media.MediaError:
            continue
    return sizes


def make(folder: Path) -> None:
    """Six clips like VGGSound's: B-frames, two to six key frames in ten seconds, noise and motion."""
    for number, (width, height) in enumerate(
        [(640, 360), (480, 360), (854, 480), (1280, 720), (640, 480), (1280, 720)]
    ):
        graph = f"testsrc2=s={width}x{height}:r=30:d=10,noise=alls=12:allf=t,rotate=0.02*sin(2*t)"
        tone = f"aevalsrc='0.3*sin(2*PI*t*({200 + 60 * number}+40*t))':s=44100:d=10"
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            graph,
            "-f",
            "lavfi",
            "-i",
            tone,
            "-g",
            str(60 + 20 * number),
        ]
        command += ["-c:v", "libx264", "-preset", "medium", "-crf", "26", "-pix_fmt", "yuv420p", "-c:a", "aac"]
        subprocess.run([*command, "-ac", "2", str(folder / f"{number}.mp4")], check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/vggsound"))
    parser.add_argument("--clips", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each; the best counts (default: 3)")
    parser.add_argument("--largest-pixels", type=int, default=262144, help="a picture (default: the paper's 262144)")
    parser.add_argument("--made", action="store_true", help="make clips like VGGSound's first, take a minute")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.made:
            make(Path(scratch))
            given.folder = Path(scratch)
        sizes = usable(given.folder, given.clips, given.largest_pixels)
        if not sizes:
            sys.exit(f"bench: no usable clip in {given.folder}: run `make data` first, or name a folder of clips")
        seconds = {"ffmpeg command line": [], "synesthesia, one process": []}
        with tempfile.TemporaryDirectory() as out:
            for _ in range(given.rounds):
                begin = time.perf_counter()
                for path, size in sizes.items():
                    command_line(path, size, out)
                middle = time.perf_counter()
                for path in sizes:
                    ours(path, given.largest_pixels)
                seconds["ffmpeg command line"].append(middle - begin)
                seconds["synesthesia, one process"].append(time.perf_counter() - middle)
    rates = {name: len(sizes) / min(times) for name, times in seconds.items()}
    print(f"{len(sizes)} clips, {os.cpu_count()} processors, PyAV {av.__version__}, best of {given.rounds} rounds")
    for name, rate in rates.items():
        print(f"{name:26s} {rate:7.2f} clips/s   x {rate / rates['ffmpeg command line']:.2f}")


if __name__ == "__main__":
    main()
