"""The embedded study on other seeds of the world: mean and range of what the README promises.

Each seed gets a world of its own (clips, lists, splits, damage) in a folder of its own; models and parameters stay. Of
the settings only those that the table needs are distilled. The study in this folder, where there is one, counts as
seed 0. Each further seed takes about two thirds of the time of `make`.

examples:
  python benchmarks/seeds.py                    seeds 0, 1 and 2
  python benchmarks/seeds.py --seeds 1 2 3      these seeds
  python benchmarks/seeds.py --work /tmp/seeds  keep the folders, go on where it was killed
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = {
    "audio original, analysis": "accuracy.qwen2-audio.analysis",
    "visual original, analysis": "accuracy.qwen2-vl.analysis",
    "audio-visual original, analysis": "accuracy.qwen2-5-omni.analysis",
    "audio distilled, analysis": "accuracy.visual-to-audio.analysis",
    "audio distilled, test": "accuracy.visual-to-audio.test",
    "audio with ground truth, analysis": "accuracy.visual-to-audio-ground-truth.analysis",
    "share of what ground truth gains": "recovered_fraction_of_ground_truth",
    "audio distilled minus teacher, analysis": "student_minus_teacher.analysis",
    "audio distilled minus teacher, test": "student_minus_teacher.test",
    "visual student's gain, analysis": "gain.audio-to-visual.analysis",
    "visual student's gain, test": "gain.audio-to-visual.test",
    "switch, balanced accuracy": "switch.balanced_accuracy",
    "switch, accuracy": "switch.accuracy",
    "always 1, accuracy": "switch.always_visual_accuracy",
    "unseen labels before": "unseen.before",
    "unseen labels after": "unseen.after",
}


SETTINGS = ("visual-to-audio", "visual-to-audio-ground-truth", "audio-to-visual")


def study(seed: int, folder: Path) -> Path:
    """Run the study on world `seed` in `folder`; returns its metrics file."""
    metrics = folder / "out/report/metrics.json"
    if metrics.exists():
        return metrics
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "params"):
        if not (folder / name).exists():
            os.symlink(ROOT / name, folder / name)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    environment = os.environ | {
        "SYNESTHESIA_TRACKING": "off",
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # dvc.yaml says `python`
    }
    call = lambda *command: subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, check=True)  # noqa: E731
    if not (folder / ".dvc").exists():
        call("dvc", "init", "--quiet", "--no-scm")
    call("synesthesia.synthetic.generate", "--out", "data", "--seed", str(seed))
    call("dvc", "repro", *(f"evaluate_students@{setting}" for setting in SETTINGS))
    call("synesthesia.pipeline.report")  # by itself: the other settings are left out, and the page says so
    return metrics


def lookup(metrics: dict, dotted: str) -> float | None:
    """A value of nested metrics by its dotted name, None where there is none."""
    for part in dotted.split("."):
        if not isinstance(metrics, dict) or part not in metrics:
            return None
        metrics = metrics[part]
    return metrics


def main() -> None:
    """Run what is missing and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, help="folder for the studies (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        files = []
        for seed in arguments.seeds:
            here = ROOT / "out/report/metrics.json"
            files.append(here if seed == 0 and here.exists() else study(seed, work / f"seed-{seed}"))
        found = [json.loads(file.read_text()) for file in files]
    print(f"| | mean | lowest | highest | seeds {', '.join(map(str, arguments.seeds))} |\n|---|---|---|---|---|")
    for title, dotted in FIGURES.items():
        values = [v for v in (lookup(m, dotted) for m in found) if v is not None]
        if values:
            each = ", ".join(f"{v:.3f}" for v in values)
            print(f"| {title} | {statistics.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} | {each} |")


if __name__ == "__main__":
    main()
