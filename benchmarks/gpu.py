"""The paper's LLMs at full size on one GPU: clips a second, beside plain transformers and peft, in one run.

Models have the real configuration and random weights (nothing is downloaded); clips are noise of the real sizes: 10 s
of sound, ten frames of 26 x 46 blocks of 14 pixels. "plain" is what a user would write first: `generate` of one token,
one clip at a time, sounds padded to 30 s; and peft with gradient checkpointing, one clip at a time, eight times. Every
row says TFLOP/s, counted by torch's FlopCounterMode over the work that our path needs, and the share of this card's
measured matrix product. Joules are the card's own count: one that runs at the power that it may draw is as fast as its
joules are few.

examples:
  python benchmarks/gpu.py                                   all rows, about ten minutes on an H100
  python benchmarks/gpu.py --models qwen2-audio --rows ours --tasks learning --micro 8
  python benchmarks/gpu.py --memory 24                       as on a card of 24 GB
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from tools.card import joules
from tools.flops import flops
from tools.noise import lesson, percepts, prompts
from tools.plain import plain_inputs, plain_model, small_model

from synesthesia.acceleration.gradient_buffer import FlatGradBuffer
from synesthesia.config import LoRAConfig, TrainingConfig
from synesthesia.distillation import adapters, trainer
from synesthesia.distillation.step import EagerStep, make_step
from synesthesia.models import random_init
from synesthesia.models.base import ALL_LINEAR, LanguageModel
from synesthesia.utils import device

LORA = LoRAConfig(rank=16, alpha=32.0, dropout=0.0, target_modules=ALL_LINEAR)
TRAINING = TrainingConfig(
    seed=0, epochs=1.0, global_batch_size=8, micro_batch_size=None, checkpoint_interval_minutes=10.0, learning_rate=1e-4, warmup_ratio=0.1,
    weight_decay=0.01, max_grad_norm=1.0, temperature=2.0, kl_weight=1.0, kl_support="letters",
)  # fmt: skip
ROUND = 2.0  # seconds at least: a card slows down as it warms
ROWS = ["plain", "ours"]
TASKS = ["answering", "learning"]


def timed(work: Callable[[], object], warm: int) -> tuple[float, float | None]:
    """Seconds of `work`, GPU included, the median of three rounds without waiting within; and joules, if it tells."""
    for _ in range(warm):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took = time.perf_counter() - start
    times = math.ceil(ROUND / took)
    before, seconds = joules(), []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(times):
            work()
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / times)
    after = joules()
    return statistics.median(seconds), None if before is None else (after - before) / (3 * times)


def ceiling() -> float:
    """TFLOP/s of a large bfloat16 matrix product on this card."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: a @ b, 5)[0] / 1e12


def released() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Bench:
    """The rows of one model; all of them see the same clips and questions."""

    def __init__(self, name: str, top: float, batch: int, micros: list[int], share: float, tasks: list[str]) -> None:
        self.name, self.top, self.batch, self.micros, self.share = name, top, batch, micros, share
        self.tasks = tasks
        self.work = {"answering": 0.0, "learning": 0.0}
        self.texts = prompts(64)

    def row(self, kind: str, how: str, clips: int, work: Callable[[], object], warm: int = 2) -> bool:
        """Time one way of answering or learning, if asked for; whether it fits: it is said, and the rest goes on."""
        if kind not in self.tasks:
            return True
        released()
        what = f"{self.name} | {kind} | {how}"
        try:
            seconds, energy = timed(work, warm)
            said = "? | ?" if energy is None else f"{energy / clips:.1f} | {energy / seconds:.0f}"
            done, peak = clips / seconds * self.work[kind], torch.cuda.max_memory_allocated() / 2**30
            share = f"{done:.0f} | {100 * done / self.top:.0f} %"
            print(f"| {what} | {clips / seconds:.1f} | {share} | {peak:.1f} | {said} |", flush=True)
            fits = True
        except torch.cuda.OutOfMemoryError:
            print(f"| {what} | does not fit | | | | | |", flush=True)
            fits = False
        released()
        return fits

    def count(self, model: LanguageModel) -> None:
        """TFLOP a clip that our path asks for, of answering and of learning (LoRA on every linear layer); counted with
        all of the card's memory, since a smaller one would have to compute activations twice.
        """
        torch.cuda.set_per_process_memory_fraction(1.0)
        batch = model.collate(percepts(model, 2), self.texts[:2])
        with torch.no_grad():
            self.work["answering"] = flops(lambda: model.answer_logits(dict(batch))) / 2
        adapters.add_lora(model, LORA)
        model.train_mode()
        self.work["learning"] = flops(lambda: learn(model, lesson(model, self.texts[:1]), 1))
        released()
        torch.cuda.set_per_process_memory_fraction(self.share)
        counted = ", ".join(f"{kind} {value:.2f}" for kind, value in self.work.items())
        print(f"{self.name}: TFLOP a clip: {counted}", flush=True)

    def ours(self, profile: str | None) -> None:
        model = random_init.build_model(self.name, "cuda")
        self.count(model)
        del model
        released()
        model = random_init.build_model(self.name, "cuda")
        model.compile()
        if "answering" in self.tasks:
            self.answering(model, profile)
        if "learning" in self.tasks:
            self.learning(model, profile)

    def answering(self, model: LanguageModel, profile: str | None) -> None:
        clips = self.batch
        while clips:
            batch = pinned(model.collate(percepts(model, clips), self.texts[:clips]))

            def answer(batch=batch) -> None:
                with torch.inference_mode():
                    model.answer_logits(dict(batch))

            if self.row("answering", f"ours, batch {clips}", clips, answer, 3):
                traced(answer, profile, f"{self.name}-answering")
                break
            clips //= 2

    def learning(self, model: LanguageModel, profile: str | None) -> None:
        adapters.add_lora(model, LORA)
        model.train_mode()
        trainer.enable_determinism()  # as the training loop
        learnt = [p for p in model.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=1e-4, fused=True)
        gradients = FlatGradBuffer(learnt)
        tries = [(micro, False) for micro in self.micros] + [(1, True)]
        fitted = False
        for micro, again in tries:
            if again and fitted:
                continue
            model.set_gradient_checkpointing(again)
            given = pinned(lesson(model, self.texts[:micro]))
            passes = make_step(model, learnt, TRAINING)  # its graphs' memory goes with it
            first = True

            def step(given=given, micro=micro, passes=passes) -> None:
                nonlocal first
                if first:  # as the stage tries what fits: a graph's recording is no place to run out of memory
                    learn(model, given, 8)
                    released()
                    first = False
                for batch in passes.prefetch((dict(given[0]), *given[1:]) for _ in range(8 // micro)):
                    passes.forward_backward(batch, 8)
                torch.nn.utils.clip_grad_norm_(learnt, 1.0)
                optimizer.step()
                gradients.zero_()

            how = f"ours, micro-batch {micro}" + (", activations twice" if again else "")
            fitted |= self.row("learning", how, 8, step, 3)
            if micro == self.micros[0]:
                traced(step, profile, f"{self.name}-learning")
            del step, passes

    def plain(self) -> None:
        wrapped = small_model(self.name)
        model = plain_model(self.name)
        one, many = plain_inputs(wrapped, 1), plain_inputs(wrapped, self.batch)

        def generate() -> None:
            model.generate(**one, max_new_tokens=1, do_sample=False)

        def forward() -> None:
            with torch.inference_mode():
                model(**many, use_cache=False)

        self.row("answering", "plain: generate, batch 1", 1, generate)
        self.row("answering", f"plain: forward, batch {self.batch}", self.batch, forward, 1)
        targets = wrapped.lora_targets
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets)).train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

        def step(inputs: dict, clips: int) -> None:
            labels = torch.full_like(inputs["input_ids"], -100)
            labels[:, -1] = 32
            for _ in range(8 // clips):
                (model(**inputs, labels=labels, use_cache=False).loss * clips / 8).backward()
            optimizer.step()
            optimizer.zero_grad()

        eight = plain_inputs(wrapped, 8)
        self.row("learning", "plain: peft, batch 8", 8, lambda: step(eight, 8), 1)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
        self.row("learning", "plain: peft, batch 1 x 8, checkpointing", 8, lambda: step(one, 1), 1)


def pinned(value):
    """As the loader hands batches over."""
    return torch.utils.data._utils.pin_memory.pin_memory(value)


def learn(model: LanguageModel, given: tuple, clips: int) -> None:
    EagerStep(model, TRAINING).forward_backward((dict(given[0]), *given[1:]), clips)


def traced(work: Callable[[], object], folder: str | None, name: str) -> None:
    """Write where the GPU's time goes."""
    if folder is None:
        return
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        work()
        torch.cuda.synchronize()
    table = seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=60, max_name_column_width=110)
    with open(f"{folder}/{name}.txt", "w") as file:
        file.write(table)


def cost(rates: list[float]) -> None:
    """Hours of one GPU for the paper's study with its two models, from clips a second (AudioSet not counted)."""
    finetune, analysis, test = 149_460, 14_300, 14_202
    hears, learns_hearing, sees, learns_seeing = rates
    again = analysis + test
    rows = {
        "answer qwen2-audio": (finetune + again) / hears,
        "answer qwen2-vl": (finetune + again) / sees,
        "distill visual to audio, 5 settings": 5 * finetune / learns_hearing,
        "distill audio to visual, 2 settings": 2 * finetune / learns_seeing,
        "examine 5 hearing students": 5 * again / hears,
        "examine 2 seeing students": 2 * again / sees,
    }
    print("| stage | hours |\n|---|---|")
    for name, seconds in {**rows, "together": sum(rows.values())}.items():
        print(f"| {name} | {seconds / 3600:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--memory", type=float, metavar="GB", help="use no more of the card's memory than this")
    parser.add_argument("--profile", metavar="FOLDER", help="write where the GPU's time goes into this folder")
    parser.add_argument("--micro", nargs="+", type=int, default=[8, 4, 2, 1], help="micro-batches of learning")
    parser.add_argument(
        "--cost", nargs=4, type=float, metavar=("HEAR", "LEARN", "SEE", "LEARN"),
        help="only print what the study costs at these clips a second: answering and learning, by ear and by eye",
    )  # fmt: skip
    given = parser.parse_args()
    if given.cost:
        cost(given.cost)
        return
    if not torch.cuda.is_available():
        print("no GPU here: `make bench-gpu` needs one")
        return
    total = torch.cuda.get_device_properties(0).total_memory
    share = min(1.0, given.memory * 1e9 / total) if given.memory else 1.0
    torch.cuda.set_per_process_memory_fraction(share)
    device.select_device()
    top = ceiling()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: matrix product {top:.0f} TFLOP/s")
    head = "| model | task | how | clips/s | TFLOP/s | of ceiling | GiB | J a clip | W |"
    print(f"\n{head}\n{'|---' * 9}|", flush=True)
    for name in given.models:
        bench = Bench(name, top, 64 if name == "qwen2-audio" else 16, given.micro, share, given.tasks)
        if "ours" in given.rows:
            bench.ours(given.profile)
        released()
        if "plain" in given.rows:
            bench.plain()
        released()


if __name__ == "__main__":
    main()
