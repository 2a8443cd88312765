"""A study of a few dozen real MP4s for the tests of curate: lists, clips, some of them damaged."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import yaml

from synesthesia import config
from tests.helpers import video_files

ROOT = Path(__file__).parents[2]
LABELS = [f"label {n}" for n in range(9)] + ["police car (siren)"]


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    whole = video_files.make(folder / "whole.mp4", size=(64, 48), fps=3, rate=8000)
    deaf = video_files.make(folder / "deaf.mp4", size=(64, 48), fps=3, audio=None)
    cut = folder / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:3000])
    empty = folder / "empty.mp4"
    empty.touch()
    return {"whole": whole, "deaf": deaf, "cut": cut, "empty": empty}


@pytest.fixture
def world(tmp_path, monkeypatch, sources) -> Path:
    """Ten labels of four train clips and a test clip, one label of two names, eleven AudioSet clips; four damaged."""
    monkeypatch.chdir(tmp_path)
    for folder in ("vggsound", "audioset/clips"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    lines = []
    for number, label in enumerate([*LABELS, "cat, dog"]):
        for take in range(5):
            video = f"v{number}-{take}"
            lines.append(f'{video},{10 * take},"{label}",{"test" if take == 4 else "train"}')
            os.link(sources["whole"], f"data/vggsound/{video}_{10 * take:06d}.mp4")
    (tmp_path / "data/vggsound.csv").write_text("\n".join(lines))
    names = "".join(f'{n},/m/{n},"Sound, {n}"\n' for n in range(12))
    (tmp_path / "data/audioset/class_labels_indices.csv").write_text(f"index,mid,display_name\n{names}")
    segments = "".join(f'a{n}, 30.000, 40.000, "/m/{n},/m/{n + 1}"\n' for n in range(11))
    (tmp_path / "data/audioset/eval_segments.csv").write_text("# YTID, start_seconds\n" + segments)
    for n in range(11):
        os.link(sources["whole"], f"data/audioset/clips/a{n}_30.mp4")
    for number, kind in enumerate(("deaf", "cut", "empty")):
        replace(f"data/vggsound/v{number}-4_000040.mp4", sources[kind])
    os.remove("data/vggsound/v3-4_000040.mp4")
    os.link(sources["whole"], "data/vggsound/stranger_000001.mp4")
    settings()
    return tmp_path


def replace(path: str, source: Path) -> None:
    os.remove(path)
    shutil.copy(source, path)


def settings(**changes) -> config.Config:
    values = yaml.safe_load((ROOT / "params/embedded.yaml").read_text())
    values["curate"] |= {"analysis_clips_a_label": 1, "shard_clips": 16, **changes}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return config.parse(values)


def outs(folder: str = "out") -> dict[str, str]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and ".partial" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
