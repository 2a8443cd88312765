"""Generate the synthetic dataset: clips and label lists in the formats of VGGSound and AudioSet.

The same seed gives the same bytes. Existing clips are kept, so an interrupted run resumes where it stopped; the lists
are written last.
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
from synesthesia.utils.io import write_atomic

METADATA_FILE = "world.json"
EXAMPLES = """examples:
  python -m synesthesia.synthetic.generate --out data --seed 0 --workers 2      the full dataset (about 2,200 clips)
  python -m synesthesia.synthetic.generate --out /tmp/w --labels-per-group 1 --train 4 --test 2 --multi-name 2 \\
    --audioset 6                                                                a tiny one
"""
# README.md and world.json count toward the hash in data.dvc, so format version 1 keeps the names it was published with
VERSION_1_COUNTS = {"multi_name": "several", "labels_per_group": "labels", "corrupt_fraction": "damaged"}
VERSION_1_CORRUPTIONS = {"no audio": "no sound", "no video": "no picture", "image": "an image", "text": "a text"}
VERSION_1_COMMAND = "python -m synesthesia.world.make"


class SyntheticDataError(Exception):
    """Failure that the user can fix; the message says how."""


def clip_bytes(clip: ClipSpec, seed: int) -> bytes:
    """Render the content of a clip's file, including its corruption.

    Args:
        clip: Entry of the manifest.
        seed: Seed of the dataset.

    Returns:
        An MP4 file, or the bytes that stand in for one if `clip.corruption` is set.
    """
    recipe = clips.draw_recipe(clip.clip_id, clip.class_name, seed, clip.second_class)
    if clip.corruption == "empty":
        return b""
    if clip.corruption == "text":
        return b"<html><body>Video unavailable</body></html>\n"
    if clip.corruption == "image":
        buffer = io.BytesIO()
        Image.fromarray(clips.render_model_inputs(recipe)[1][0]).save(buffer, "PNG")
        return buffer.getvalue()
    if clip.corruption == "too short":
        return clips.encode_mp4(recipe, seconds=3.0)
    streams = {"no audio": "v", "no video": "a"}.get(clip.corruption or "", "av")
    mp4 = clips.encode_mp4(recipe, streams=streams)
    return mp4[: len(mp4) // 2] if clip.corruption == "truncated" else mp4


def _write_clip(job: tuple[ClipSpec, int, str]) -> None:
    clip, seed, out = job
    write_atomic(Path(out) / clip.path, clip_bytes(clip, seed))


def _serialize_counts(counts: ClipCounts) -> dict[str, int | float]:
    return {VERSION_1_COUNTS.get(name, name): value for name, value in asdict(counts).items()}


def _format_readme(seed: int, counts: ClipCounts, vggsound: list[ClipSpec], audioset: list[ClipSpec]) -> str:
    corrupt = Counter(c.corruption for c in [*vggsound, *audioset] if c.corruption)
    corrupt_counts = [f"{corrupt[c]} {VERSION_1_CORRUPTIONS.get(c, c)}" for c in manifest.CORRUPTIONS if corrupt[c]]
    lines = [
        "# Everything here is synthetic",
        "",
        f"Clips of the embedded world: sounds and pictures made by `{VERSION_1_COMMAND}`, no recording of",
        "anybody or anything. Labels and the lists' forms are VGGSound's and AudioSet's; ids are invented.",
        "",
        f"- seed {seed}; counts {json.dumps(_serialize_counts(counts))}",
        f"- `vggsound.csv`, `vggsound/`: {len(vggsound)} clips, {len({c.labels for c in vggsound})} labels, "
        f"{sum(c.split == 'train' for c in vggsound)} train, {sum(c.split == 'test' for c in vggsound)} test",
        f"- `audioset/`: {len(audioset)} clips",
        "- damaged on purpose: " + (", ".join(corrupt_counts) or "none"),
        f"- listed but absent: {sum(not c.has_file for c in vggsound)}; "
        f"listed twice: {sum(c.n_listings == 2 for c in vggsound)}; "
        f"there but not listed: {sum(c.n_listings == 0 for c in vggsound)}",
    ]
    return "\n".join(lines) + "\n"


def _prepare_folder(out: Path, seed: int, counts: ClipCounts) -> None:
    """Create the folders, refuse those of another dataset, and delete temporary files of an interrupted run."""
    metadata = {"seed": seed, "counts": _serialize_counts(counts), "version": 1}
    try:
        for folder in ("vggsound", "audioset/clips"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        if (out / METADATA_FILE).exists():
            try:
                existing = json.loads((out / METADATA_FILE).read_text())
            except ValueError:
                existing = "an unreadable " + METADATA_FILE
            if existing != metadata:
                raise SyntheticDataError(
                    f"{out} already holds another dataset ({existing}), not {metadata}. Choose another --out, pass the "
                    f"same seed and counts to resume it, or first remove its vggsound*, audioset and {METADATA_FILE}."
                )
        elif any((out / "vggsound").iterdir()):
            raise SyntheticDataError(
                f"{out}/vggsound holds files but {out}/{METADATA_FILE} is missing: not generated by this command. "
                "Choose another --out."
            )
        else:
            write_atomic(out / METADATA_FILE, json.dumps(metadata, indent=1) + "\n")
        for tmp_path in out.rglob("*.tmp"):
            tmp_path.unlink()
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise SyntheticDataError(f"cannot write to {out}: {error.strerror}. Choose a writable folder.") from error


def generate(
    out: Path, seed: int = 0, counts: ClipCounts | None = None, num_workers: int = 1, quiet: bool = False
) -> None:
    """Generate the dataset in a folder, or resume an interrupted run.

    Args:
        out: Destination folder; created if missing.
        seed: Seed of everything that is drawn, at least 0.
        counts: Size of the dataset; None: the default size.
        num_workers: Number of processes that render and encode clips.
        quiet: Whether to hide the progress bar.

    Raises:
        SyntheticDataError: The folder holds another dataset or is not writable, the disk is full, or a worker died.
            The message says what to do.
    """
    counts = counts or ClipCounts()
    vggsound, audioset = manifest.vggsound_clips(seed, counts), manifest.audioset_clips(seed, counts)
    _prepare_folder(out, seed, counts)
    jobs = [(c, seed, str(out)) for c in [*vggsound, *audioset] if c.has_file and not (out / c.path).exists()]
    progress = tqdm(total=len(jobs), unit="clip", desc="synthetic", disable=quiet or not jobs)
    try:
        if num_workers == 1:
            for job in jobs:
                _write_clip(job)
                progress.update()
        elif jobs:
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                os.environ.setdefault(name, "1")  # workers read these at startup: one core per worker
            pool = ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn"))
            try:
                for future in as_completed([pool.submit(_write_clip, job) for job in jobs]):
                    future.result()
                    progress.update()
            finally:
                pool.shutdown(cancel_futures=True)
        write_atomic(out / "audioset/class_labels_indices.csv", manifest.class_labels_csv())
        write_atomic(out / "audioset/eval_segments.csv", manifest.audioset_csv(audioset))
        write_atomic(out / "vggsound.csv", manifest.vggsound_csv(vggsound))
        write_atomic(out / "README.md", _format_readme(seed, counts, vggsound, audioset))
    except BrokenProcessPool as error:
        raise SyntheticDataError(
            "a worker process was killed, perhaps for lack of memory: run again with fewer --workers; finished clips "
            "are kept."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SyntheticDataError(
                f"no space left below {out}: free some and run again; finished clips are kept."
            ) from error
        raise SyntheticDataError(
            f"cannot write below {out}: {error}. Fix that and run again; finished clips are kept."
        ) from error
    finally:
        progress.close()


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; None: those of the process.

    Returns:
        Exit status: 0 on success, 2 on an error that the user can fix, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.synthetic.generate", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    default = ClipCounts()
    parser.add_argument("--out", type=Path, required=True, help="destination folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="number of processes (default: %(default)s)"
    )
    parser.add_argument(
        "--train", type=int, default=default.train, help="mean train clips per label (default: %(default)s)"
    )
    parser.add_argument("--test", type=int, default=default.test, help="test clips per label (default: %(default)s)")
    parser.add_argument(
        "--multi-name", type=int, default=default.multi_name,
        help="clips per label that lists multiple names (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--audioset", type=int, default=default.audioset, help="AudioSet-like clips (default: %(default)s)"
    )
    parser.add_argument(
        "--labels-per-group", type=int, default=default.labels_per_group,
        help="main labels per group, up to 10 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--corrupt-fraction", type=float, default=default.corrupt_fraction,
        help="fraction of corrupt files (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    smallest = min(args.train, args.test, args.multi_name, args.audioset, args.seed)
    if args.workers < 1 or smallest < 0 or not 1 <= args.labels_per_group <= 10:
        parser.error("--workers must be at least 1, --labels-per-group 1 to 10, counts and seed not negative")
    if not 0 <= args.corrupt_fraction <= 1:
        parser.error("--corrupt-fraction must be between 0 and 1")
    counts = ClipCounts(
        args.train, args.test, args.multi_name, args.audioset, args.labels_per_group, args.corrupt_fraction
    )
    try:
        generate(args.out, args.seed, counts, args.workers)
    except SyntheticDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    print(f"wrote {args.out}: see {args.out}/README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
