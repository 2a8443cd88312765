"""Pretrain the miniature models that come with the repository: `make pretrain`.

examples:
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
from synesthesia.synthetic.labels import MAIN, OTHERS
from synesthesia.synthetic.pretraining import learn, names, pann, perceive, questions, unlearn

FAMILY = {"qwen2-audio": "qwen2_audio", "qwen2-vl": "qwen2_vl", "qwen2.5-omni": "qwen2_5_omni"}
SEEDS = {"train": 9000, "stop": 9001, "judge": 9002}


def render(args: argparse.Namespace) -> None:
    kinds = list(range(len(names.KINDS)))
    main = kinds[: len(MAIN)]
    for part, chosen, count in (
        ("train", kinds, args.clips),
        ("stop", main, args.held),
        ("judge", kinds, args.held),
    ):
        jobs = [(SEEDS[part], f"pretrain{c:05d}", k, args.coded) for c in range(count) for k in chosen]
        made = perceive.made(jobs, args.workers, part)
        torch.save(made, args.work / f"{part}.pt", pickle_protocol=5)


def tokenizer():
    return tiny_models.tokenizer(names.training_texts())


def mind(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    shared = tiny_models.language_model(words)
    questions.learn(shared, words, device=args.device, seconds=args.seconds, workers=min(5, args.workers), seed=0)
    torch.save(shared.state_dict(), args.work / "mind.pt")


def family_of(name: str, model, words, device: str):
    kind = importlib.import_module(FAMILIES[FAMILY[name]]).Family
    return kind(model, tiny_models.processor(name, words), device)


def percepts_of(args: argparse.Namespace, part: str) -> perceive.Percepts:
    return perceive.pack(torch.load(args.work / f"{part}.pt", weights_only=False), args.device)


def miniature(args: argparse.Namespace, name: str) -> None:
    """Encoders learn to tell kinds apart, then the whole learns to name them all."""
    torch.manual_seed(0)
    words = tokenizer()
    shared = tiny_models.language_model(words)
    shared.load_state_dict(torch.load(args.work / "mind.pt", weights_only=True, map_location="cpu"))
    model = tiny_models.model(name, words)
    tiny_models.share(shared, model)
    family = family_of(name, model, words, args.device)
    percepts, held = percepts_of(args, "train"), percepts_of(args, "judge")
    common = {"batch": args.batch, "device": args.device}
    hears, sees = family.condition != "silent_video", family.condition != "audio"
    for sense in ["audio"] * hears + ["video"] * sees:
        seconds = args.seconds * (0.2 if sense == "audio" else 0.8)
        learn.tell_apart(family, percepts, sense=sense, steps=args.steps(2500), seconds=seconds, seed=1, **common)
    steps, seconds = args.steps(args.naming), args.seconds * 1.7
    learn.train(family, percepts, steps=steps, seconds=seconds, seed=2, senses=hears and sees, **common)
    report(args, name, "knows all", family, held)
    tiny_models.save(name, model, words, args.work / "knowing" / name)


def forget(args: argparse.Namespace) -> None:
    """Each miniature unlearns what unlearn.py says, one after the other; what it then is goes to --out."""
    words = tokenizer()
    percepts, stop, held = (percepts_of(args, part) for part in ("train", "stop", "judge"))
    for name in args.only or FAMILY:
        torch.manual_seed(0)
        kind = importlib.import_module(FAMILIES[FAMILY[name]]).Family
        family = kind.load(str(args.work / "knowing" / name), "float32", args.device)

        def low_enough(step: int, name: str = name, family=family) -> bool:
            by_kind = learn.judge(family, stop, device=args.device, seed=3)[: len(MAIN)]
            print(f"  unlearning {name}: step {step} accuracy {by_kind.nanmean():.3f}", flush=True)
            return by_kind.nanmean().item() <= unlearn.TARGET[name]

        if name in unlearn.TARGET:
            share = torch.tensor(unlearn.shares(name, names.KINDS), device=args.device)
            learn.train(
                family,
                percepts,
                steps=args.steps(300),
                seconds=3600,
                batch=args.batch,
                device=args.device,
                seed=4,
                rate=args.forgetting_rate,
                scramble=share,
                until=low_enough,
            )
        report(args, name, "after unlearning", family, held)
        tiny_models.save(name, family.model.cpu(), words, args.out / name)


def report(args, name: str, when: str, family, held) -> None:
    by_kind = learn.judge(family, held, device=args.device, seed=5).tolist()
    regimes: dict[str, list[float]] = {}
    for kind, accuracy in zip(names.KINDS, by_kind, strict=True):
        regimes.setdefault(kind.regime, []).append(accuracy)
    summary = {r: round(float(np.nanmean(a)), 3) for r, a in regimes.items()}
    main = round(float(np.nanmean(by_kind[: len(MAIN)])), 3)
    detail = {kind.name: round(a, 2) for kind, a in zip(names.KINDS, by_kind, strict=True)}
    line = {"model": name, "when": when, "study labels": main, **summary, "kinds": detail}
    print(json.dumps(line), flush=True)
    with open(args.work / "report.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def switch(args: argparse.Namespace) -> None:
    made = torch.load(args.work / "train.pt", weights_only=False)
    made = [m for m in made if m[4] is not None]
    audio, kinds = np.stack([m[4] for m in made]), np.array([m[0] for m in made])
    steps = max(4, int(3000 * args.scale))
    accuracy = pann.learn(audio, kinds, folder=args.out / "pann", steps=steps, device=args.device, seed=6)
    print(json.dumps({"model": "pann", "accuracy on its own kinds": round(accuracy, 3), "kinds": len(OTHERS) + 3}))


def side_by_side(args: argparse.Namespace) -> None:
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
    parser.add_argument("step", choices=["all", "clips", "mind", "pann", *FAMILY, "forget"])
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
    parser.add_argument("--only", nargs="*", choices=list(FAMILY), help="with `forget`: only these models")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all step counts")
    args = parser.parse_args()
    args.steps = lambda steps: max(2, int(steps * args.scale))
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    {"all": side_by_side, "clips": render, "mind": mind, "pann": switch, "forget": forget}.get(
        args.step, lambda a: miniature(a, a.step)
    )(args)


if __name__ == "__main__":
    main()
