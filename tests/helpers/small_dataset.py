"""A dataset of a few dozen real MP4 files for the tests of curate: lists and clips, some of them damaged."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.tools import video_files
from synesthesia import config

ROOT = Path(__file__).parents[2]
LABELS = [f"label {n}" for n in range(9)] + ["police car (siren)"]


@pytest.fixture(scope="session")
def source_files(tmp_path_factory) -> dict[str, Path]:
    """Files by kind: intact, no_audio, truncated, and empty."""
    folder = tmp_path_factory.mktemp("source_files")
    intact = video_files.write_clip(folder / "intact.mp4", size=(64, 48), fps=3, sample_rate=8000)
    no_audio = video_files.write_clip(folder / "no_audio.mp4", size=(64, 48), fps=3, audio=None)
    truncated = folder / "truncated.mp4"
    truncated.write_bytes(intact.read_bytes()[:3000])
    empty = folder / "empty.mp4"
    empty.touch()
    return {"intact": intact, "no_audio": no_audio, "truncated": truncated, "empty": empty}


@pytest.fixture
def dataset(tmp_path, monkeypatch, source_files) -> Path:
    """Eleven labels, one of them multi-name, with four train clips and one test clip each, and 11 AudioSet clips.

    Four of the test clips are unusable: no audio, truncated, empty, and missing. One file is not listed.
    """
    monkeypatch.chdir(tmp_path)
    for folder in ("vggsound", "audioset/clips"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    lines = []
    for number, label in enumerate([*LABELS, "cat, dog"]):
        for take in range(5):
            video = f"v{number}-{take}"
            lines.append(f'{video},{10 * take},"{label}",{"test" if take == 4 else "train"}')
            os.link(source_files["intact"], f"data/vggsound/{video}_{10 * take:06d}.mp4")
    (tmp_path / "data/vggsound.csv").write_text("\n".join(lines))
    names = "".join(f'{n},/m/{n},"Sound, {n}"\n' for n in range(12))
    (tmp_path / "data/audioset/class_labels_indices.csv").write_text(f"index,mid,display_name\n{names}")
    segments = "".join(f'a{n}, 30.000, 40.000, "/m/{n},/m/{n + 1}"\n' for n in range(11))
    (tmp_path / "data/audioset/eval_segments.csv").write_text("# YTID, start_seconds\n" + segments)
    for n in range(11):
        os.link(source_files["intact"], f"data/audioset/clips/a{n}_30.mp4")
    for number, kind in enumerate(("no_audio", "truncated", "empty")):
        replace_file(f"data/vggsound/v{number}-4_000040.mp4", source_files[kind])
    os.remove("data/vggsound/v3-4_000040.mp4")
    os.link(source_files["intact"], "data/vggsound/unlisted_000001.mp4")
    write_config()
    return tmp_path


def replace_file(path: str, source: Path) -> None:
    """Replace a file without changing other links to it."""
    os.remove(path)
    shutil.copy(source, path)


def write_config(**curate_values) -> config.Config:
    """Write params.yaml of the embedded study with changed values of `curate`, and return the parsed config."""
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["curate"] |= {"analysis_clips_per_label": 1, "clips_per_shard": 16, **curate_values}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return config.parse(values)


def hash_outputs(folder: str = "out") -> dict[str, str]:
    """Return SHA-256 by path of all output files, without the cache."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and ".partial" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
