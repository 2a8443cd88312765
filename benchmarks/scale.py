"""curate at VGGSound's real size, but for the decoding: seconds and memory of each step, for 20,000 and 200,000 clips.

The list has the real size (199,176 rows; the test rows are the published ones), the folder as many files; decoding is
replaced by a clip of 2 KB, so what is left is what the pipeline itself costs. The last column is for ten times the
clips: 10 is linear, and dictionaries that outgrow the processor's cache make it up to 20; quadratic would be 100. Each
size and layout runs in a process of its own.

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

from synesthesia import config, schemas
from synesthesia.data import media
from synesthesia.data.catalogs import manifest, media_index, vggsound
from synesthesia.pipeline import curate, make_questions
from synesthesia.questions import sampling

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers import published_lists  # noqa: E402

LAYOUTS = {
    "flat": lambda video, start: f"{video}_{start:06d}.mp4",
    "unpadded": lambda video, start: f"{video}_{start}.mkv",
    "folders": lambda video, start: f"{video}/{start}.webm",
}


def tiny(path: str, **_) -> media.DecodedClip:
    """In place of decoding: a clip of 2 KB that follows from the file's name; one in 200 cannot be read."""
    number = sum(path.encode())
    if number % 200 == 0:
        raise media.MediaError("truncated", "made up")
    return media.DecodedClip(np.full(500, number % 99, np.int16), [path.encode() * 20], (2, 2))


def world(share: float, layout: str) -> None:
    """Lists and empty files in the current folder, and params.yaml of the paper's size."""
    Path("data/clips").mkdir(parents=True)
    published_lists.vggsound(Path("data/whole.csv"))
    with open("data/whole.csv", newline="") as file:
        rows = list(csv.reader(file))
    rows = rows[: round(len(rows) * share)]
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
    values["curate"]["analysis_clips_per_label"] = max(1, round(50 * share))
    Path("params.yaml").write_text(yaml.safe_dump(values))


def steps(count: int) -> dict[str, float]:
    """Seconds of each step in the current folder, and the most memory of this process in MiB."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str):
        begin = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begin

    given = config.load()
    with timed("read the list"):
        listed = vggsound.read_list(given.data.vggsound_list)
    with timed("find the files"):
        media_index.build_media_index(given.data.vggsound_clips, listed, "")
    del listed
    with timed("plan: both, labels, splits"):
        made = manifest.build_manifest(given)
    curate.OUTPUT_DIR.mkdir(parents=True)
    curate.CACHE_DIR.mkdir(parents=True)
    with timed("2 KB clips through the workers into shards"):
        chunks = curate._decode_clips(made.items, given.curate, count, tiny)
    with timed("start again with all chunks finished"):
        chunks = curate._decode_clips(made.items, given.curate, count, tiny)
    with timed("gather shards, write tables and counts"):
        curate._write_outputs(made, chunks, given.curate)
    with timed("ask: draw and write the questions"):
        drawn = sampling.draw_questions(
            schemas.read(make_questions.CLIPS_FILE, schemas.CLIP),
            0,
            10,
            "frequency",
            json.loads(make_questions.LABEL_COUNTS_FILE.read_text()),
        )
        schemas.write(drawn, make_questions.QUESTIONS_FILE, schemas.QUESTION)
    with timed("read clips and questions, checked"):
        schemas.read(make_questions.CLIPS_FILE, schemas.CLIP)
        schemas.read(make_questions.QUESTIONS_FILE, schemas.QUESTION)
    seconds["clips"] = float(len(made.items))
    seconds["peak memory of the stage, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=["flat"])
    parser.add_argument("--workers", type=int, default=None, help="default: one a processor")
    parser.add_argument("--inside", nargs=2, metavar=("SHARE", "LAYOUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        world(float(given.inside[0]), given.inside[1])
        print(json.dumps(steps(given.workers)))
        return
    for layout in given.layouts:
        found = []
        for share in (0.1, 1.0):
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--inside", str(share), layout]
                ended = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
                found.append(json.loads(ended.stdout))
        few, many = found
        print(f"\n| {layout} | {few.pop('clips'):,.0f} clips | {many.pop('clips'):,.0f} clips | ratio |")
        print("|---|---|---|---|")
        for name in few:
            form = "{:,.0f}" if "MiB" in name else "{:.1f} s"
            print(f"| {name} | {form.format(few[name])} | {form.format(many[name])} | {many[name] / few[name]:.1f} |")


if __name__ == "__main__":
    main()
