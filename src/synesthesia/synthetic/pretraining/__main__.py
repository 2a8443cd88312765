"""Pretrain the miniature models that come with the repository: `make pretrain`.

Examples:
  python -m synesthesia.synthetic.pretraining all --out src/synesthesia/synthetic/weights
  python -m synesthesia.synthetic.pretraining all --out /tmp/w --scale 0.02 --clips 4    (a quick rehearsal on a CPU)

Steps run one by one with `clips`, `mind`, `pann`, a miniature's name, and `forget`; `all` runs what is independent
side by side. The clock ends a step before its count does (--seconds), so other hardware gives other weights.
World seeds from 9000 on are used here, and by nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from synesthesia.models import FAMILIES
from synesthesia.synthetic import tiny_models
from synesthesia.synthetic.labels import MAIN_CLASSES, UNSEEN_CLASSES
from synesthesia.synthetic.pretraining import learn, names, pann, perceive, questions, unlearn

MODEL_FAMILIES = {"qwen2-audio": "qwen2_audio", "qwen2-vl": "qwen2_vl", "qwen2.5-omni": "qwen2_5_omni"}
SPLIT_SEEDS = {"train": 9000, "stop": 9001, "judge": 9002}


def render_clips(args: argparse.Namespace) -> None:
    kinds = list(range(len(names.SOUND_CLASSES)))
    main = kinds[: len(MAIN_CLASSES)]
    for part, chosen, count in (
        ("train", kinds, args.clips),
        ("stop", main, args.held),
        ("judge", kinds, args.held),
    ):
        jobs = [(SPLIT_SEEDS[part], f"pretrain{c:05d}", k, args.coded) for c in range(count) for k in chosen]
        made = perceive.render_all(jobs, args.workers, part)
        torch.save(made, args.work / f"{part}.pt", pickle_protocol=5)


def train_tokenizer():
    return tiny_models.train_tokenizer(names.tokenizer_texts())


def train_shared_lm(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    words = train_tokenizer()
    shared = tiny_models.build_shared_lm(words)
    questions.train_shared_lm(
        shared, words, device=args.device, max_seconds=args.seconds, num_workers=min(5, args.workers), seed=0
    )
    torch.save(shared.state_dict(), args.work / "mind.pt")


def wrap_model(name: str, model, tokenizer, device: str):
    kind = importlib.import_module(FAMILIES[MODEL_FAMILIES[name]]).Family
    return kind(model, tiny_models.build_processor(name, tokenizer), device)


def load_clip_tensors(args: argparse.Namespace, split: str) -> perceive.ClipTensors:
    return perceive.pack(torch.load(args.work / f"{split}.pt", weights_only=False), args.device)


def pretrain_model(args: argparse.Namespace, name: str) -> None:
    """Encoders learn to tell kinds apart, then the whole learns to name them all."""
    torch.manual_seed(0)
    words = train_tokenizer()
    shared = tiny_models.build_shared_lm(words)
    shared.load_state_dict(torch.load(args.work / "mind.pt", weights_only=True, map_location="cpu"))
    model = tiny_models.build_model(name, words)
    tiny_models.copy_shared_lm(shared, model)
    family = wrap_model(name, model, words, args.device)
    percepts, held = load_clip_tensors(args, "train"), load_clip_tensors(args, "judge")
    common = {"batch": args.batch, "device": args.device}
    hears, sees = family.condition != "silent_video", family.condition != "audio"
    for sense in ["audio"] * hears + ["video"] * sees:
        seconds = args.seconds * (0.2 if sense == "audio" else 0.8)
        learn.pretrain_encoder(
            family, percepts, modality=sense, steps=args.steps(2500), max_seconds=seconds, seed=1, **common
        )
    steps, seconds = args.steps(args.naming), args.seconds * 1.7
    learn.train(
        family, percepts, steps=steps, max_seconds=seconds, seed=2, use_modality_dropout=hears and sees, **common
    )
    log_accuracy(args, name, "knows all", family, held)
    tiny_models.save_model(name, model, words, args.work / "knowing" / name)


def unlearn_labels(args: argparse.Namespace) -> None:
    """Each miniature unlearns what unlearn.py says, one after the other; what it then is goes to --out."""
    words = train_tokenizer()
    percepts, stop, held = (load_clip_tensors(args, part) for part in ("train", "stop", "judge"))
    for name in args.only or MODEL_FAMILIES:
        torch.manual_seed(0)
        kind = importlib.import_module(FAMILIES[MODEL_FAMILIES[name]]).Family
        family = kind.load(str(args.work / "knowing" / name), "float32", args.device)

        def low_enough(step: int, name: str = name, family=family) -> bool:
            by_kind = learn.evaluate(family, stop, device=args.device, seed=3)[: len(MAIN_CLASSES)]
            print(f"  unlearning {name}: step {step} accuracy {by_kind.nanmean():.3f}", flush=True)
            return by_kind.nanmean().item() <= unlearn.TARGET_ACCURACY[name]

        if name in unlearn.TARGET_ACCURACY:
            share = torch.tensor(unlearn.label_noise_rates(name, names.SOUND_CLASSES), device=args.device)
            learn.train(
                family,
                percepts,
                steps=args.steps(300),
                max_seconds=3600,
                batch_size=args.batch,
                device=args.device,
                seed=4,
                lr=args.forgetting_rate,
                label_noise=share,
                should_stop=low_enough,
            )
        log_accuracy(args, name, "after unlearning", family, held)
        tiny_models.save_model(name, family.model.cpu(), words, args.out / name)


def log_accuracy(args, name: str, phase: str, wrapper, eval_clips) -> None:
    by_kind = learn.evaluate(wrapper, eval_clips, device=args.device, seed=5).tolist()
    regimes: dict[str, list[float]] = {}
    for kind, accuracy in zip(names.SOUND_CLASSES, by_kind, strict=True):
        regimes.setdefault(kind.group, []).append(accuracy)
    summary = {r: round(float(np.nanmean(a)), 3) for r, a in regimes.items()}
    main = round(float(np.nanmean(by_kind[: len(MAIN_CLASSES)])), 3)
    detail = {kind.name: round(a, 2) for kind, a in zip(names.SOUND_CLASSES, by_kind, strict=True)}
    line = {"model": name, "when": phase, "study labels": main, **summary, "kinds": detail}
    print(json.dumps(line), flush=True)
    with open(args.work / "report.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def pretrain_pann(args: argparse.Namespace) -> None:
    made = torch.load(args.work / "train.pt", weights_only=False)
    made = [m for m in made if m[4] is not None]
    audio, kinds = np.stack([m[4] for m in made]), np.array([m[0] for m in made])
    steps = max(4, int(3000 * args.scale))
    accuracy = pann.train_pann(audio, kinds, folder=args.out / "pann", steps=steps, device=args.device, seed=6)
    print(
        json.dumps({"model": "pann", "accuracy on its own kinds": round(accuracy, 3), "kinds": len(UNSEEN_CLASSES) + 3})
    )


def run_all(args: argparse.Namespace) -> None:
    """Clips and the question first, then all models at once: they are small and the GPU is not."""
    start, gpus = time.time(), torch.cuda.device_count()
    for group in (["mind", "clips"], ["qwen2.5-omni", "qwen2-vl", "pann", "qwen2-audio"], ["forget"]):
        width = len(group) if args.device == "cuda" else 1
        for first in range(0, len(group), width):
            running = [
                subprocess.Popen(
                    [sys.executable, "-m", "synesthesia.synthetic.pretraining", step, *sys.argv[2:]],
                    env=os.environ | ({"CUDA_VISIBLE_DEVICES": str(i % gpus)} if gpus > 1 else {}),
                )
                for i, step in enumerate(group[first : first + width])
            ]
            failed = [p.args for p in running if p.wait()]
            if failed:
                raise SystemExit(f"pretraining failed in {failed}")
        print(f"{' + '.join(group)}: {time.time() - start:.0f} s since start", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["all", "clips", "mind", "pann", *MODEL_FAMILIES, "forget"])
    parser.add_argument("--out", type=Path, default=Path("src/synesthesia/synthetic/weights"), help="where weights go")
    parser.add_argument("--work", type=Path, default=Path("out/.pretraining"), help="rendered clips, checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--clips", type=int, default=300, help="training clips a kind")
    parser.add_argument("--held", type=int, default=23, help="clips a kind to stop unlearning by, and to judge by")
    parser.add_argument("--coded", type=float, default=1.0, help="share of clips that go through H.264 and AAC")
    parser.add_argument(
        "--seconds",
        type=float,
        default=110,
        help="seconds for learning the question on text; other limits follow it",
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--naming", type=int, default=1600, help="steps of learning to name")
    parser.add_argument("--forgetting-rate", type=float, default=5e-4)
    parser.add_argument("--only", nargs="*", choices=list(MODEL_FAMILIES), help="with `forget`: only these models")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all step counts")
    args = parser.parse_args()
    args.steps = lambda steps: max(2, int(steps * args.scale))
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    {
        "all": run_all,
        "clips": render_clips,
        "mind": train_shared_lm,
        "pann": pretrain_pann,
        "forget": unlearn_labels,
    }.get(args.step, lambda a: pretrain_model(a, a.step))(args)


if __name__ == "__main__":
    main()
