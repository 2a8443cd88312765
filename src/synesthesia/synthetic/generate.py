"""Make the embedded world's files: clips and label lists in VGGSound's and AudioSet's own forms.

The same seed gives the same bytes. Clips that are there already are kept, so a run that was killed goes on where it
was when it is started again; the lists are written last.
"""

import argparse
import errno
import io
import json
import multiprocessing
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from synesthesia.synthetic import clips, manifest
from synesthesia.synthetic.manifest import ClipCounts, ClipSpec

METADATA_FILE = "world.json"
EXAMPLES = """examples:
  python -m synesthesia.synthetic.generate --out data --seed 0 --workers 2      the whole world (about 2,500 clips)
  python -m synesthesia.synthetic.generate --out /tmp/w --labels 1 --train 4 --test 2 --several 2 --audioset 6   a tiny one
"""


class SyntheticDataError(Exception):
    """Something the caller can put right; the message says how."""


def _write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def clip_bytes(clip: ClipSpec, seed: int) -> bytes:
    """The bytes of a clip's file, damage included."""
    recipe = clips.draw_recipe(clip.clip_id, clip.class_name, seed, clip.second_class)
    if clip.corruption == "empty":
        return b""
    if clip.corruption == "a text":
        return b"<html><body>Video unavailable</body></html>\n"
    if clip.corruption == "an image":
        target = io.BytesIO()
        Image.fromarray(clips.render_model_inputs(recipe)[1][0]).save(target, "PNG")
        return target.getvalue()
    if clip.corruption == "too short":
        return clips.encode_mp4(recipe, seconds=3.0)
    whole = clips.encode_mp4(recipe, streams={"no sound": "v", "no picture": "a"}.get(clip.corruption, "av"))
    return whole[: len(whole) // 2] if clip.corruption == "truncated" else whole


def _write_clip(job: tuple[ClipSpec, int, str]) -> None:
    clip, seed, out = job
    _write_atomic(Path(out) / clip.path, clip_bytes(clip, seed))


def _format_readme(seed: int, counts: ClipCounts, vggsound: list[ClipSpec], audioset: list[ClipSpec]) -> str:
    wrong = Counter(c.corruption for c in [*vggsound, *audioset] if c.corruption)
    lines = [
        "# Everything here is synthetic",
        "",
        "Clips of the embedded world: sounds and pictures made by `python -m synesthesia.synthetic.generate`, no recording of",
        "anybody or anything. Labels and the lists' forms are VGGSound's and AudioSet's; ids are invented.",
        "",
        f"- seed {seed}; counts {json.dumps(asdict(counts))}",
        f"- `vggsound.csv`, `vggsound/`: {len(vggsound)} clips, {len({c.labels for c in vggsound})} labels, "
        f"{sum(c.split == 'train' for c in vggsound)} train, {sum(c.split == 'test' for c in vggsound)} test",
        f"- `audioset/`: {len(audioset)} clips",
        "- damaged on purpose: " + (", ".join(f"{wrong[d]} {d}" for d in manifest.CORRUPTIONS if wrong[d]) or "none"),
        f"- listed but absent: {sum(not c.has_file for c in vggsound)}; listed twice: {sum(c.n_listings == 2 for c in vggsound)}; "
        f"there but not listed: {sum(c.n_listings == 0 for c in vggsound)}",
    ]
    return "\n".join(lines) + "\n"


def _prepare_folder(out: Path, seed: int, counts: ClipCounts) -> None:
    """Make the folders, refuse another world's, and clear away what a killed run left half written."""
    mark = {"seed": seed, "counts": asdict(counts), "version": 1}
    try:
        for folder in ("vggsound", "audioset/clips"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        if (out / METADATA_FILE).exists():
            try:
                found = json.loads((out / METADATA_FILE).read_text())
            except ValueError:
                found = "an unreadable " + METADATA_FILE
            if found != mark:
                raise SyntheticDataError(
                    f"{out} already holds another world ({found}), not {mark}. Choose another --out, give the same "
                    f"seed and counts to go on with it, or first remove its vggsound*, audioset and {METADATA_FILE}."
                )
        elif any((out / "vggsound").iterdir()):
            raise SyntheticDataError(
                f"{out}/vggsound holds files but {out}/{METADATA_FILE} is missing: not made here. Choose another --out."
            )
        else:
            _write_atomic(out / METADATA_FILE, json.dumps(mark, indent=1).encode() + b"\n")
        for part in out.rglob(".*.part"):
            part.unlink()
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise SyntheticDataError(
            f"cannot write to {out}: {error.strerror}. Choose a folder that you may write to."
        ) from error


def generate(out: Path, seed: int = 0, counts: ClipCounts | None = None, workers: int = 1, quiet: bool = False) -> None:
    """Make the world below `out`; raises WorldError with what to do when that is impossible."""
    counts = counts or ClipCounts()
    vgg, aset = manifest.vggsound_clips(seed, counts), manifest.audioset_clips(seed, counts)
    _prepare_folder(out, seed, counts)
    todo = [(c, seed, str(out)) for c in [*vgg, *aset] if c.has_file and not (out / c.path).exists()]
    bar = tqdm(total=len(todo), unit="clip", desc="world", disable=quiet or not todo)
    try:
        if workers == 1:
            for job in todo:
                _write_clip(job)
                bar.update()
        elif todo:
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ.setdefault(name, "1")  # read by the workers as they start: one core a worker
            pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
            try:
                for done in as_completed([pool.submit(_write_clip, job) for job in todo]):
                    done.result()
                    bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
        _write_atomic(out / "audioset/class_labels_indices.csv", manifest.class_labels_csv().encode())
        _write_atomic(out / "audioset/eval_segments.csv", manifest.audioset_csv(aset).encode())
        _write_atomic(out / "vggsound.csv", manifest.vggsound_csv(vgg).encode())
        _write_atomic(out / "README.md", _format_readme(seed, counts, vgg, aset).encode())
    except BrokenProcessPool as error:
        raise SyntheticDataError(
            "a worker was killed, perhaps for memory: run again with fewer --workers; what is done stays."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SyntheticDataError(
                f"no space left below {out}: free some and run again; what is done stays."
            ) from error
        raise SyntheticDataError(
            f"cannot write below {out}: {error}. Put that right and run again; what is done stays."
        ) from error
    finally:
        bar.close()


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.synthetic.generate", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    usual = ClipCounts()
    parser.add_argument("--out", type=Path, required=True, help="folder to make the world in")
    parser.add_argument("--seed", type=int, default=0, help="everything follows from it (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--train", type=int, default=usual.train, help="train clips a label on average (%(default)s)")
    parser.add_argument("--test", type=int, default=usual.test, help="test clips a label (%(default)s)")
    parser.add_argument(
        "--several", type=int, default=usual.multi_name, help="clips a several-name label (%(default)s)"
    )
    parser.add_argument("--audioset", type=int, default=usual.audioset, help="AudioSet-like clips (%(default)s)")
    parser.add_argument(
        "--labels", type=int, default=usual.labels_per_group, help="main labels of each regime, up to 10 (%(default)s)"
    )
    parser.add_argument(
        "--damaged", type=float, default=usual.corrupt_fraction, help="share of damaged files (%(default)s)"
    )
    a = parser.parse_args(argv)
    if a.workers < 1 or min(a.train, a.test, a.several, a.audioset, a.seed) < 0 or not 1 <= a.labels <= 10:
        parser.error("--workers must be at least 1, --labels 1 to 10, counts and seed not negative")
    if not 0 <= a.damaged <= 1:
        parser.error("--damaged is a share, 0 to 1")
    try:
        counts = ClipCounts(a.train, a.test, a.several, a.audioset, a.labels, a.damaged)
        generate(a.out, a.seed, counts, a.workers)
    except SyntheticDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"made {a.out}: see {a.out}/README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
