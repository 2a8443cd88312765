"""Dress rehearsal: the pipeline with the paper's parameters on a few dozen synthetic clips, with full-size models.

The models have the full-size configurations and random weights, saved in shards and loaded as in the study; the switch
is a Cnn14_16k with random weights. Stages run one after the other, as in `dvc repro`. "resume" distills once more, is
killed (SIGKILL) after its first checkpoint, resumes, and must produce the same bytes as the uninterrupted run. The
results are not meaningful: the rehearsal checks that every stage runs, and prints the seconds per stage.

examples:
  python benchmarks/rehearsal.py                              on a GPU with 80 GB; needs 40 GB of disk
  python benchmarks/rehearsal.py --small                      models of two layers, on any machine
  python benchmarks/rehearsal.py --stages synthetic curate    on one machine, the other stages on another
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
    "synthetic": ["synthetic.generate", "--out", "data", "--labels-per-group", "4", "--train", "5", "--test", "1",
                  "--multi-name", "0", "--audioset", "16"],
    "curate": ["pipeline.curate"],
    "make_questions": ["pipeline.make_questions"],
    "models": [],
    "evaluate qwen2-audio": ["pipeline.evaluate", "qwen2-audio"],
    "evaluate qwen2-vl": ["pipeline.evaluate", "qwen2-vl"],
    "measure_gap": ["pipeline.measure_gap"],
    "train_switch": ["pipeline.train_switch"],
    "route": ["pipeline.route"],
    "distill visual-to-audio": ["pipeline.distill", "visual-to-audio"],
    "resume visual-to-audio": [],
    "evaluate_students visual-to-audio": ["pipeline.evaluate_students", "visual-to-audio"],
    "distill audio-to-visual": ["pipeline.distill", "audio-to-visual"],
    "evaluate_students audio-to-visual": ["pipeline.evaluate_students", "audio-to-visual"],
}  # fmt: skip
EPOCHS = 6.0  # a dozen clips per epoch: enough steps to kill the process between two of them
CHECKPOINTS = {"qwen2-audio": "checkpoints/qwen2-audio", "qwen2-vl": "checkpoints/qwen2-vl"}


def make_parameters(compile: bool, small: bool) -> dict:
    """Adapt params/paper.yaml to a few dozen clips and two models.

    Args:
        compile: Whether to compile the models' layers.
        small: Whether the models have two layers.

    Returns:
        Content of a params.yaml.
    """
    values = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    values["data"] |= {"vggsound_clips": "data/vggsound", "audioset_clips": "data/audioset/clips"}
    values["curate"] |= {"analysis_clips_per_label": 2, "display_names": {}}
    values["train_switch"] |= {"checkpoint": "checkpoints/pann", "validation_clips_per_label": 1}
    if small:  # Cnn14_16k takes minutes per epoch without a GPU
        values["train_switch"]["checkpoint"] = str(ROOT / "src/synesthesia/synthetic/weights/pann")
    values["models"] = {name: values["models"][name] for name in CHECKPOINTS}
    for name, model in values["models"].items():
        model["checkpoint"] = CHECKPOINTS[name]
    values["acceleration"]["compile"] = compile
    settings = ("visual-to-audio", "audio-to-visual")
    values["distill"]["settings"] = {name: values["distill"]["settings"][name] for name in settings}
    values["distill"]["training"]["epochs"] = EPOCHS
    return values


def write_checkpoints(small: bool) -> None:
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


def start_stage(stage: str, environment: dict[str, str], *extra_args: str) -> subprocess.Popen:
    """Start a stage; its output goes to stderr."""
    command = [sys.executable, "-m", "synesthesia." + STAGES[stage][0], *STAGES[stage][1:], *extra_args]
    return subprocess.Popen(command, env=environment, stdout=sys.stderr, start_new_session=True)


def kill_and_resume(values: dict, environment: dict[str, str]) -> str:
    """Distill again, kill the process after its first checkpoint, and resume it.

    Args:
        values: Content of params.yaml.
        environment: Environment of the stages.

    Returns:
        Whether the outputs have the same bytes as before, as text.
    """
    setting, stage = "visual-to-audio", "distill visual-to-audio"
    out, partial = Path("out/distill") / setting, Path("out/.partial/distill")
    expected = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    for folder in (out, partial):
        shutil.rmtree(folder, ignore_errors=True)
    frequent_values = {**values, "distill": {**values["distill"]}}
    frequent_values["distill"]["training"] = {**values["distill"]["training"], "checkpoint_interval_minutes": 0.001}
    Path("params-frequent-checkpoints.yaml").write_text(yaml.safe_dump(frequent_values, sort_keys=False))
    process = start_stage(stage, environment, "--params", "params-frequent-checkpoints.yaml")
    while not list(partial.rglob("checkpoint.safetensors")):
        if process.poll() is not None:
            return "not killed: the process ended before its first checkpoint"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if out.exists():
        return "not killed: the process had already ended"
    if start_stage(stage, environment).wait():
        return "failed to resume"
    different = [file.name for file, content in expected.items() if file.read_bytes() != content]
    return f"different bytes in {', '.join(different)}" if different else "same bytes as without interruption"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "out/.rehearsal", help="working directory (default: out/.rehearsal)"
    )
    parser.add_argument("--small", action="store_true", help="models of two layers instead of the real size")
    parser.add_argument("--no-compile", action="store_true", help="do not compile the models' layers")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    values = make_parameters(not (args.small or args.no_compile), args.small)
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    environment = {
        **os.environ,
        "SYNESTHESIA_TRACKING": "off",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    print("| stage | seconds |\n|---|---|", flush=True)
    for stage in args.stages:
        start = time.monotonic()
        if stage == "models":
            write_checkpoints(args.small)
        elif stage == "resume visual-to-audio":
            print(f"| {stage}: {kill_and_resume(values, environment)} | {time.monotonic() - start:.1f} |", flush=True)
            continue
        elif not (stage == "synthetic" and Path("data").exists()) and start_stage(stage, environment).wait():
            sys.exit(f"{stage} failed")
        print(f"| {stage} | {time.monotonic() - start:.1f} |", flush=True)


if __name__ == "__main__":
    main()
