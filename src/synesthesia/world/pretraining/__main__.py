"""Pretrain the miniature models that come with the repository: `make pretrain`.

examples:
  python -m synesthesia.world.pretraining all --out src/synesthesia/world/weights
  python -m synesthesia.world.pretraining all --out /tmp/w --scale 0.02 --clips 4    (a quick rehearsal on a CPU)

Steps run one by one with `clips`, `mind`, `pann`, or a miniature's name; `all` runs what is independent side by side.
World seeds from 9000 on are used here, and by nothing else.
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

from synesthesia.models import FAMILIES
from synesthesia.world import miniatures
from synesthesia.world.labels import MAIN, OTHERS
from synesthesia.world.pretraining import learn, names, pann, perceive, questions, unlearn

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
    return miniatures.tokenizer(names.training_texts())


def mind(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    shared = miniatures.language_model(words)
    questions.learn(shared, words, device=args.device, seconds=args.seconds, workers=min(5, args.workers), seed=0)
    torch.save(shared.state_dict(), args.work / "mind.pt")


def miniature(args: argparse.Namespace, name: str) -> None:
    import importlib

    torch.manual_seed(0)
    words = tokenizer()
    shared = miniatures.language_model(words)
    shared.load_state_dict(torch.load(args.work / "mind.pt", weights_only=True, map_location="cpu"))
    model = miniatures.model(name, words)
    miniatures.share(shared, model)
    kind = importlib.import_module(FAMILIES[FAMILY[name]]).Family
    family = kind(model, miniatures.processor(name, words), args.device)
    load = lambda part: perceive.pack(torch.load(args.work / f"{part}.pt", weights_only=False), args.device)  # noqa: E731
    percepts, stop, held = load("train"), load("stop"), load("judge")
    n = lambda steps: max(2, int(steps * args.scale))  # noqa: E731
    common = {"batch": args.batch, "device": args.device}
    for sense in ("audio", "video"):
        if (sense == "audio" and family.condition != "silent_video") or (
            sense == "video" and family.condition != "audio"
        ):
            learn.tell_apart(
                family,
                percepts,
                sense=sense,
                steps=n(2500),
                seconds=args.seconds * (0.2 if sense == "audio" else 0.8),
                seed=1,
                **common,
            )
    both = family.condition == "sounded_video"
    learn.train(family, percepts, steps=n(args.naming), seconds=args.seconds * 1.7, seed=2, senses=both, **common)
    report(args, name, "knows all", family, held)
    miniatures.save(name, model, words, args.work / "knowing" / name)
    forget(args, name, family, words, percepts, stop, held)


def forget(args, name, family, words, percepts, stop, held) -> None:
    share = torch.tensor(unlearn.shares(name, names.KINDS), device=args.device)

    def low_enough(step: int) -> bool:
        accuracy = learn.judge(family, stop, device=args.device, seed=3)[: len(MAIN)].nanmean().item()
        if step % 50 == 0:
            print(f"  unlearning {name}: step {step} accuracy {accuracy:.3f}", flush=True)
        return accuracy <= unlearn.TARGET[name]

    learn.train(
        family,
        percepts,
        steps=max(2, int(600 * args.scale)),
        seconds=args.seconds * 0.45,
        batch=args.batch,
        device=args.device,
        seed=4,
        rate=args.forgetting_rate,
        scramble=share,
        until=low_enough,
    )
    report(args, name, "after unlearning", family, held)
    miniatures.save(name, family.model.cpu(), words, args.out / name)


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
    for group in (["mind", "clips"], ["qwen2.5-omni", "qwen2-vl", "pann", "qwen2-audio"]):
        width = len(group) if args.device == "cuda" else 1
        for first in range(0, len(group), width):
            running = [
                subprocess.Popen(
                    [sys.executable, "-m", "synesthesia.world.pretraining", step, *sys.argv[2:]],
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
    parser.add_argument("step", choices=["all", "clips", "mind", "pann", *FAMILY])
    parser.add_argument("--out", type=Path, default=Path("src/synesthesia/world/weights"), help="where weights go")
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
    parser.add_argument("--forgetting-rate", type=float, default=1e-3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all step counts")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    {"all": side_by_side, "clips": render, "mind": mind, "pann": switch}.get(args.step, lambda a: miniature(a, a.step))(
        args
    )


if __name__ == "__main__":
    main()
