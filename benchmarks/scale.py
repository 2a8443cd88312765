"""Scaling of curate to the size of VGGSound, without decoding: time and memory per step for 20,000 and 200,000 clips.

The list has the real size (199,176 rows; the test rows are the published ones), and the folder as many files. Decoding
is replaced by a function that returns a clip of 2 KB, so the result is the overhead of the pipeline. The last column is
the ratio for ten times as many clips: 10 is linear, 100 is quadratic, and values up to 20 are due to dictionaries that
exceed the CPU cache. Each size and layout runs in its own process.

    python benchmarks/scale.py
    python benchmarks/scale.py --layouts flat folders      `<id>_<start>.mp4` and `<id>/<start>.webm`
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from tools import published_lists

from synesthesia import config as configs
from synesthesia import schemas
from synesthesia.data import media
from synesthesia.data.catalogs import manifest, media_index, vggsound
from synesthesia.pipeline import curate, make_questions
from synesthesia.questions import sampling

ROOT = Path(__file__).resolve().parent.parent

LAYOUTS = {
    "flat": lambda video, start: f"{video}_{start:06d}.mp4",
    "unpadded": lambda video, start: f"{video}_{start}.mkv",
    "folders": lambda video, start: f"{video}/{start}.webm",
}


def fake_decode(path: str, **_) -> media.DecodedClip:
    """Return a clip of 2 KB derived from the file's name; reject one in 200."""
    number = sum(path.encode())
    if number % 200 == 0:
        raise media.MediaError("truncated", "simulated")
    return media.DecodedClip(np.full(500, number % 99, np.int16), [path.encode() * 20], (2, 2))


def write_dataset(fraction: float, layout: str) -> None:
    """Write lists, empty files, and the paper's params.yaml to the current folder."""
    Path("data/clips").mkdir(parents=True)
    published_lists.write_vggsound(Path("data/full.csv"))
    with open("data/full.csv", newline="") as file:
        rows = list(csv.reader(file))
    rows = rows[: round(len(rows) * fraction)]
    with open("data/vggsound.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    for video, start, _, _ in rows:
        path = f"data/clips/{LAYOUTS[layout](video, int(start))}"
        if layout == "folders":
            os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    values = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    values["data"] = dict.fromkeys(values["data"]) | {
        "vggsound_list": "data/vggsound.csv", "vggsound_clips": "data/clips"}  # fmt: skip
    values["curate"]["analysis_clips_per_label"] = max(1, round(50 * fraction))
    Path("params.yaml").write_text(yaml.safe_dump(values))


def measure_steps(num_workers: int | None) -> dict[str, float]:
    """Return the seconds of each step in the current folder, and the peak memory of this process in MiB."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str):
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    config = configs.load()
    with timed("read the list"):
        listed = vggsound.read_list(config.data.vggsound_list)
    with timed("index the files"):
        media_index.build_media_index(config.data.vggsound_clips, listed, "")
    del listed
    with timed("manifest: both, labels, splits"):
        clip_manifest = manifest.build_manifest(config)
    curate.OUTPUT_DIR.mkdir(parents=True)
    curate.CACHE_DIR.mkdir(parents=True)
    with timed("2 KB clips through the workers into shards"):
        results = curate._decode_clips(clip_manifest.items, config.curate, num_workers, fake_decode)
    with timed("restart with all jobs finished"):
        results = curate._decode_clips(clip_manifest.items, config.curate, num_workers, fake_decode)
    with timed("collect shards, write tables and counts"):
        curate._write_outputs(clip_manifest, results, config.curate)
    with timed("draw and write the questions"):
        questions = sampling.draw_questions(
            schemas.read(make_questions.CLIPS_FILE, schemas.CLIP),
            0,
            10,
            "frequency",
            json.loads(make_questions.LABEL_COUNTS_FILE.read_text()),
        )
        schemas.write(questions, make_questions.QUESTIONS_FILE, schemas.QUESTION)
    with timed("read clips and questions, checked"):
        schemas.read(make_questions.CLIPS_FILE, schemas.CLIP)
        schemas.read(make_questions.QUESTIONS_FILE, schemas.QUESTION)
    seconds["clips"] = float(len(clip_manifest.items))
    seconds["peak memory of the stage, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=["flat"])
    parser.add_argument("--workers", type=int, default=None, help="decoding processes (default: one per CPU)")
    parser.add_argument("--inside", nargs=2, metavar=("FRACTION", "LAYOUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        write_dataset(float(args.inside[0]), args.inside[1])
        print(json.dumps(measure_steps(args.workers)))
        return
    for layout in args.layouts:
        results = []
        for fraction in (0.1, 1.0):
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--inside", str(fraction), layout]
                process = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
                results.append(json.loads(process.stdout))
        small, large = results
        print(f"\n| {layout} | {small.pop('clips'):,.0f} clips | {large.pop('clips'):,.0f} clips | ratio |")
        print("|---|---|---|---|")
        for name in small:
            number_format = "{:,.0f}" if "MiB" in name else "{:.1f} s"
            values = " | ".join(number_format.format(seconds[name]) for seconds in results)
            print(f"| {name} | {values} | {large[name] / small[name]:.1f} |")


if __name__ == "__main__":
    main()
