"""Pretrain the tiny models that come with the repository: `make pretrain`.

Examples:
  python -m synesthesia.synthetic.pretraining all --out src/synesthesia/synthetic/weights
  python -m synesthesia.synthetic.pretraining all --out /tmp/w --scale 0.02 --clips 4    (a quick trial on a CPU)

Steps run one by one with `clips`, `shared-lm`, `pann`, the name of a model, and `unlearn`; `all` runs independent
steps in parallel. Time limits may end a step before its step count (--max-seconds), so other hardware gives other
weights. Only this command uses dataset seeds from 9000 on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen2Tokenizer

from synesthesia import acceleration
from synesthesia.config import AccelerationConfig
from synesthesia.models import model_class
from synesthesia.models.base import LanguageModel
from synesthesia.synthetic import tiny_models
from synesthesia.synthetic.labels import MAIN_CLASSES
from synesthesia.synthetic.pretraining import model_inputs, names, pann, shared_lm, training, unlearn

MODEL_FAMILIES = {"qwen2-audio": "qwen2_audio", "qwen2-vl": "qwen2_vl", "qwen2.5-omni": "qwen2_5_omni"}
# encoders are also called by themselves, and a clip fills the tiny models' audio window: nothing to crop
ACCELERATION = AccelerationConfig(crop_audio_encoder=False)
SPLIT_SEEDS = {"train": 9000, "early_stop": 9001, "eval": 9002}


def render_clips(args: argparse.Namespace) -> None:
    """Render the clips of all splits into --work."""
    class_ids = list(range(len(names.SOUND_CLASSES)))
    main_class_ids = class_ids[: len(MAIN_CLASSES)]
    for split, split_class_ids, count in (
        ("train", class_ids, args.clips),
        ("early_stop", main_class_ids, args.eval_clips),
        ("eval", class_ids, args.eval_clips),
    ):
        jobs = [
            (SPLIT_SEEDS[split], f"pretrain{c:05d}", k, args.codec_fraction)
            for c in range(count)
            for k in split_class_ids
        ]
        rendered = model_inputs.render_all(jobs, args.workers, split)
        torch.save(rendered, args.work / f"{split}.pt", pickle_protocol=5)


def train_tokenizer() -> Qwen2Tokenizer:
    """Train the tokenizer of the tiny models; deterministic."""
    return tiny_models.train_tokenizer(names.tokenizer_texts())


def train_shared_lm(args: argparse.Namespace) -> None:
    """Train the shared language model and save it in --work."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    model = tiny_models.build_shared_lm(tokenizer)
    num_workers = min(5, args.workers)
    shared_lm.train_shared_lm(
        model, tokenizer, device=args.device, max_seconds=args.max_seconds, num_workers=num_workers, seed=0
    )
    torch.save(model.state_dict(), args.work / "shared_lm.pt")


def wrap_model(name: str, model: PreTrainedModel, tokenizer: Qwen2Tokenizer, device: str) -> LanguageModel:
    """Wrap a tiny model in the class of its family.

    Args:
        name: Key of `MODEL_FAMILIES`.
        model: Tiny model.
        tokenizer: Tokenizer of the tiny models.
        device: `cpu` or `cuda`.

    Returns:
        The wrapped model on `device`.
    """
    processor = tiny_models.build_processor(name, tokenizer)
    wrapper: LanguageModel = model_class(MODEL_FAMILIES[name])(model, processor, device)
    return acceleration.apply(wrapper, ACCELERATION)


def load_clip_tensors(args: argparse.Namespace, split: str) -> model_inputs.ClipTensors:
    """Load the clips of a split from --work to --device."""
    return model_inputs.pack(torch.load(args.work / f"{split}.pt", weights_only=False), args.device)


def pretrain_model(args: argparse.Namespace, name: str) -> None:
    """Train the encoders to classify, then the entire model to name all classes, and save it in --work.

    Args:
        args: Command line.
        name: Key of `MODEL_FAMILIES`.
    """
    torch.manual_seed(0)
    tokenizer = train_tokenizer()
    shared = tiny_models.build_shared_lm(tokenizer)
    shared.load_state_dict(torch.load(args.work / "shared_lm.pt", weights_only=True, map_location="cpu"))
    model = tiny_models.build_model(name, tokenizer)
    tiny_models.copy_shared_lm(shared, model)
    wrapper = wrap_model(name, model, tokenizer, args.device)
    clips, eval_clips = load_clip_tensors(args, "train"), load_clip_tensors(args, "eval")
    common = {"batch_size": args.batch_size, "device": args.device}
    has_audio, has_video = wrapper.condition != "silent_video", wrapper.condition != "audio"
    for modality in ["audio"] * has_audio + ["video"] * has_video:
        training.pretrain_encoder(
            wrapper,
            clips,
            modality=modality,
            steps=args.scale_steps(2500),
            max_seconds=args.max_seconds * (0.2 if modality == "audio" else 0.8),
            seed=1,
            **common,
        )
    training.train(
        wrapper,
        clips,
        steps=args.scale_steps(args.naming_steps),
        max_seconds=args.max_seconds * 1.7,
        seed=2,
        use_modality_dropout=has_audio and has_video,
        **common,
    )
    log_accuracy(args, name, "pretrained", wrapper, eval_clips)
    tiny_models.save_model(name, model, tokenizer, args.work / "pretrained" / name)


def unlearn_labels(args: argparse.Namespace) -> None:
    """Let each model unlearn its labels (see `unlearn`), one model after the other, and save it in --out."""
    tokenizer = train_tokenizer()
    clips, stop_clips, eval_clips = (load_clip_tensors(args, split) for split in ("train", "early_stop", "eval"))
    for name in args.only or MODEL_FAMILIES:
        torch.manual_seed(0)
        checkpoint = str(args.work / "pretrained" / name)
        wrapper: LanguageModel = model_class(MODEL_FAMILIES[name]).load(checkpoint, "float32", args.device)
        acceleration.apply(wrapper, ACCELERATION)

        def is_target_reached(step: int, name: str = name, wrapper: LanguageModel = wrapper) -> bool:
            accuracies = training.evaluate(wrapper, stop_clips, device=args.device, seed=3)[: len(MAIN_CLASSES)]
            print(f"  unlearning {name}: step {step} accuracy {accuracies.nanmean():.3f}", flush=True)
            return accuracies.nanmean().item() <= unlearn.TARGET_ACCURACY[name]

        if name in unlearn.TARGET_ACCURACY:
            rates = unlearn.label_noise_rates(name, names.SOUND_CLASSES)
            training.train(
                wrapper,
                clips,
                steps=args.scale_steps(300),
                max_seconds=3600,
                batch_size=args.batch_size,
                device=args.device,
                seed=4,
                lr=args.unlearning_lr,
                label_noise=torch.tensor(rates, device=args.device),
                should_stop=is_target_reached,
            )
        log_accuracy(args, name, "unlearned", wrapper, eval_clips)
        tiny_models.save_model(name, wrapper.model.cpu(), tokenizer, args.out / name)


def log_accuracy(
    args: argparse.Namespace, name: str, phase: str, wrapper: LanguageModel, eval_clips: model_inputs.ClipTensors
) -> None:
    """Evaluate a model; print the accuracies and append them to report.jsonl in --work.

    Args:
        args: Command line.
        name: Key of `MODEL_FAMILIES`.
        phase: "pretrained" or "unlearned".
        wrapper: Tiny model.
        eval_clips: Clips of the split "eval".
    """
    accuracies = training.evaluate(wrapper, eval_clips, device=args.device, seed=5).tolist()
    groups: dict[str, list[float]] = {}
    for sound_class, accuracy in zip(names.SOUND_CLASSES, accuracies, strict=True):
        groups.setdefault(sound_class.group, []).append(accuracy)
    line = {
        "model": name,
        "phase": phase,
        "main_accuracy": round(float(np.nanmean(accuracies[: len(MAIN_CLASSES)])), 3),
        **{group: round(float(np.nanmean(values)), 3) for group, values in groups.items()},
        "classes": {c.name: round(a, 2) for c, a in zip(names.SOUND_CLASSES, accuracies, strict=True)},
    }
    print(json.dumps(line), flush=True)
    with open(args.work / "report.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def pretrain_pann(args: argparse.Namespace) -> None:
    """Train the switch's network and save it in --out."""
    rendered = torch.load(args.work / "train.pt", weights_only=False)
    with_audio = [clip for clip in rendered if clip.audio is not None]
    audio, class_ids = np.stack([clip.audio for clip in with_audio]), np.array([clip.class_id for clip in with_audio])
    steps = max(4, int(3000 * args.scale))
    accuracy = pann.train_pann(audio, class_ids, folder=args.out / "pann", steps=steps, device=args.device, seed=6)
    num_classes = len(pann.NON_STUDY_CLASS_IDS)
    print(json.dumps({"model": "pann", "accuracy": round(accuracy, 3), "num_classes": num_classes}))


def run_all(args: argparse.Namespace) -> None:
    """Run all steps: clips and the shared language model first, then all models in parallel on a GPU.

    Raises:
        SystemExit: A step failed.
    """
    start, num_gpus = time.time(), torch.cuda.device_count()
    for group in (["shared-lm", "clips"], ["qwen2.5-omni", "qwen2-vl", "pann", "qwen2-audio"], ["unlearn"]):
        num_parallel = len(group) if args.device == "cuda" else 1
        for first in range(0, len(group), num_parallel):
            processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "synesthesia.synthetic.pretraining", step, *args.options],
                    env=os.environ | ({"CUDA_VISIBLE_DEVICES": str(i % num_gpus)} if num_gpus > 1 else {}),
                )
                for i, step in enumerate(group[first : first + num_parallel])
            ]
            failed = [p.args for p in processes if p.wait()]
            if failed:
                raise SystemExit(f"pretraining failed in {failed}")
        print(f"{' + '.join(group)}: {time.time() - start:.0f} s since start", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; None: those of the process.

    Returns:
        Exit status.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.synthetic.pretraining",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=["all", "clips", "shared-lm", "pann", *MODEL_FAMILIES, "unlearn"])
    parser.add_argument(
        "--out", type=Path, default=Path("src/synesthesia/synthetic/weights"), help="destination of the weights"
    )
    parser.add_argument("--work", type=Path, default=Path("out/.pretraining"), help="rendered clips, checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="number of processes")
    parser.add_argument("--clips", type=int, default=300, help="training clips per class")
    parser.add_argument("--eval-clips", type=int, default=23, help="clips per class for early stopping and evaluation")
    parser.add_argument(
        "--codec-fraction", type=float, default=1.0, help="fraction of clips that pass through H.264 and AAC"
    )
    parser.add_argument(
        "--max-seconds", type=float, default=110, help="time limit of the shared model; other limits are multiples"
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--naming-steps", type=int, default=1600, help="steps that train a model to name all classes")
    parser.add_argument("--unlearning-lr", type=float, default=5e-4, help="learning rate of `unlearn`")
    parser.add_argument("--only", nargs="*", choices=list(MODEL_FAMILIES), help="with `unlearn`: only these models")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all step counts")
    args = parser.parse_args(argv)
    args.options = argv[1:]  # `all` passes these on; the step comes first
    args.scale_steps = lambda steps: max(2, int(steps * args.scale))
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    {
        "all": run_all,
        "clips": render_clips,
        "shared-lm": train_shared_lm,
        "pann": pretrain_pann,
        "unlearn": unlearn_labels,
    }.get(args.step, lambda args: pretrain_model(args, args.step))(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
