"""Dress rehearsal: the paper-size parameters end to end on a few dozen embedded clips, with models of the real size.

The models have the real configurations and random weights, saved in shards and loaded back as the study loads them; the
switch is the real Cnn14_16k, random too. Stages run one after the other, as `dvc repro` runs them: curate, ask,
answer (both models), gap, switch, route, distill, examine. "killed" distils once more, is killed (SIGKILL) after its
first checkpoint, goes on, and must end with the very bytes of the one that was not. What comes out means nothing; that
it comes out, and how long each step takes, is the point. Prints each stage's seconds.

examples:
  python benchmarks/rehearsal.py                          on a GPU of 80 GB; needs 40 GB of disk
  python benchmarks/rehearsal.py --small                  models of two layers, on any machine: does the way hold?
  python benchmarks/rehearsal.py --stages world curate    on one machine, and the rest on another
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
STAGES = {
    "world": ["synthetic.generate", "--out", "data", "--labels", "4", "--train", "5", "--test", "1", "--several", "0",
              "--audioset", "16"],
    "curate": ["pipeline.curate"],
    "ask": ["pipeline.make_questions"],
    "models": [],
    "answer qwen2-audio": ["pipeline.evaluate", "qwen2-audio"],
    "answer qwen2-vl": ["pipeline.evaluate", "qwen2-vl"],
    "gap": ["pipeline.measure_gap"],
    "switch": ["pipeline.train_switch"],
    "route": ["pipeline.route"],
    "distill visual-to-audio": ["pipeline.distill", "visual-to-audio"],
    "killed visual-to-audio": [],
    "examine visual-to-audio": ["pipeline.evaluate_students", "visual-to-audio"],
    "distill audio-to-visual": ["pipeline.distill", "audio-to-visual"],
    "examine audio-to-visual": ["pipeline.evaluate_students", "audio-to-visual"],
}  # fmt: skip
EPOCHS = 6.0  # of a dozen clips: steps enough to be killed between two of them
CHECKPOINTS = {"qwen2-audio": "checkpoints/qwen2-audio", "qwen2-vl": "checkpoints/qwen2-vl"}


def parameters(compile: bool, small: bool) -> dict:
    """params/paper.yaml with what a few dozen clips and two models need."""
    values = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    values["data"] |= {"vggsound_clips": "data/vggsound", "audioset_clips": "data/audioset/clips"}  # as the world lies
    values["curate"]["analysis_clips_per_label"] = 2
    values["train_switch"] |= {"checkpoint": "checkpoints/pann", "validation_clips_per_label": 1}
    if small:  # the real one takes minutes an epoch without a GPU
        values["train_switch"]["checkpoint"] = str(ROOT / "src/synesthesia/synthetic/weights/pann")
    values["models"] = {name: values["models"][name] for name in CHECKPOINTS}
    for name, model in values["models"].items():
        model |= {"checkpoint": CHECKPOINTS[name]}
    values["acceleration"]["compile"] = compile
    kept = ("visual-to-audio", "audio-to-visual")
    values["distill"]["settings"] = {name: values["distill"]["settings"][name] for name in kept}
    values["distill"]["training"]["epochs"] = EPOCHS
    return values


def models(small: bool) -> None:
    """Write the three checkpoints of random weights."""
    import torch
    from safetensors.torch import save_file

    from synesthesia.distillation.switch import Switch, trainable_state_dict
    from synesthesia.models import random_init
    from synesthesia.utils import device

    for name, folder in CHECKPOINTS.items():
        if not Path(folder).exists():
            scale = random_init.ScaledConfig() if small else None
            model = random_init.build_model(name, device.select_device(), seed=0, scale=scale)
            random_init.save_checkpoint(model, folder)
            del model
    torch.manual_seed(0)
    switch = Switch({"architecture": "Cnn14_16k"})
    Path("checkpoints/pann").mkdir(parents=True, exist_ok=True)
    save_file(trainable_state_dict(switch.backbone), "checkpoints/pann/model.safetensors")
    Path("checkpoints/pann/config.json").write_text('{"architecture": "Cnn14_16k"}\n')


def run(stage: str, environment: dict, *more: str) -> subprocess.Popen:
    """Start a stage; what it says goes to stderr."""
    command = [sys.executable, "-m", "synesthesia." + STAGES[stage][0], *STAGES[stage][1:], *more]
    return subprocess.Popen(command, env=environment, stdout=sys.stderr, start_new_session=True)


def killed(values: dict, environment: dict) -> str:
    """Distil again, killed after the first checkpoint and taken up again; says whether the outs are the same bytes."""
    item, stage = "visual-to-audio", "distill visual-to-audio"
    out, partial = Path("out/distill") / item, Path("out/.partial/distill")
    whole = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    for folder in (out, partial):
        shutil.rmtree(folder, ignore_errors=True)
    often = {**values, "distill": {**values["distill"]}}
    often["distill"]["training"] = {**values["distill"]["training"], "checkpoint_interval_minutes": 0.001}
    Path("params-killed.yaml").write_text(yaml.safe_dump(often, sort_keys=False))
    process = run(stage, environment, "--params", "params-killed.yaml")
    while not list(partial.rglob("checkpoint.safetensors")):
        if process.poll() is not None:
            return "not killed: it ended before its first checkpoint"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if out.exists():
        return "not killed: it had ended already"
    if run(stage, environment).wait():
        return "failed when it was taken up again"
    different = [file.name for file, content in whole.items() if file.read_bytes() != content]
    return f"other bytes in {', '.join(different)}" if different else "the same bytes as never killed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "out/.rehearsal", help="where it is done (out/.rehearsal)"
    )
    parser.add_argument("--small", action="store_true", help="models of two layers instead of the real size")
    parser.add_argument("--no-compile", action="store_true", help="do not compile the models' layers")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)
    values = parameters(not (given.small or given.no_compile), given.small)
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    environment = {
        **os.environ,
        "SYNESTHESIA_TRACKING": "off",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    print("| stage | seconds |\n|---|---|", flush=True)
    for stage in given.stages:
        start = time.monotonic()
        if stage == "models":
            models(given.small)
        elif stage == "killed visual-to-audio":
            print(f"| {stage}: {killed(values, environment)} | {time.monotonic() - start:.1f} |", flush=True)
            continue
        elif not (stage == "world" and Path("data").exists()) and run(stage, environment).wait():
            sys.exit(f"{stage} failed")
        print(f"| {stage} | {time.monotonic() - start:.1f} |", flush=True)


if __name__ == "__main__":
    main()
