"""How far our bfloat16 is from plain transformers' and peft's at full size, and how far both are from float32.

The ten letters' logits, and the LoRA gradients, of the same few clips: by ours (compiled, replayed, without padding),
by plain transformers and peft in batches of one, two, four and eight, and by plain ones in float32 with the same
weights. A batch's size changes which kernels add up in which order, so plain differs from itself too; ours should be no
farther from plain than that. Differences are relative, by norm, and of several the largest. Models have the real
configuration and random weights; gradients are of an adapter as after some learning (B is not zero).

examples:
  python benchmarks/agreement.py                        both models, four minutes on an H100
  python benchmarks/agreement.py --models qwen2-audio
  python benchmarks/agreement.py --inductor emulate_precision_casts=1 pattern_matcher=0    ours compiled otherwise
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations

import gpu
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from synesthesia.distillation.lean_lora import use_lean_lora
from synesthesia.distillation.passes import fastest
from synesthesia.models import device, random_weights
from synesthesia.models.base import LanguageModel

SIZES = [1, 2, 4, 8]


@dataclass
class Found:
    """Letter logits float32 (clips, 10), the adapter left out, and all gradients in a row, float32; on the GPU."""

    logits: torch.Tensor
    gradients: torch.Tensor


class Comparison:
    """One model and its clips; plain first, since ours changes the model in place."""

    def __init__(self, name: str, inductor: dict[str, bool]) -> None:
        self.inductor = inductor
        self.name, self.clips = name, 8 if name == "qwen2-audio" else 4  # what peft without checkpointing holds
        self.small = random_weights.build(name, "cpu", scale=random_weights.Scale())  # for its processor alone
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=self.small.lora_targets)
        self.adapted: PeftModel = get_peft_model(gpu.plain_model(name), lora)
        self.learnt = [p for p in self.adapted.parameters() if p.requires_grad]
        torch.manual_seed(1)
        for parameter in self.learnt:
            parameter.data = 0.02 * torch.randn_like(parameter)
        self.percepts, self.prompts = gpu.percepts(self.small, self.clips), gpu.prompts(self.clips)
        self.says = torch.arange(self.clips) % 10

    def batches(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, self.clips, size)]

    def gradients(self) -> torch.Tensor:
        made = torch.cat([p.grad.flatten() for p in self.learnt])
        for parameter in self.learnt:
            parameter.grad = None
        return made

    def plain(self, size: int, precision: torch.dtype = torch.bfloat16) -> Found:
        """As transformers and peft compute it in batches of `size`."""
        letters, logits = self.small.letter_ids.cuda(), []

        def at_answer(inputs: dict) -> torch.Tensor:
            at = inputs["attention_mask"].sum(1) - 1
            return self.adapted(**inputs, use_cache=False).logits[torch.arange(len(at)), at].float()

        for chosen in self.batches(size):
            made = gpu.plain_inputs(self.small, self.clips, chosen)
            inputs = {k: v.to(precision) if gpu.fractional(v) else v for k, v in made.items()}
            with torch.no_grad(), self.adapted.disable_adapter():
                logits.append(at_answer(inputs)[:, letters])
            says = letters[self.says[chosen].cuda()]
            (torch.nn.functional.cross_entropy(at_answer(inputs), says, reduction="sum") / self.clips).backward()
        return Found(torch.cat(logits), self.gradients())

    def exact(self) -> Found:
        """The same in float32, with the weights as bfloat16 has them."""
        frozen = [*(p for p in self.adapted.parameters() if not p.requires_grad), *self.adapted.buffers()]
        halves = [tensor for tensor in frozen if tensor.dtype == torch.bfloat16]
        for tensor in halves:
            tensor.data = tensor.data.float()
        found = self.plain(1, torch.float32)
        for tensor in halves:
            tensor.data = tensor.data.bfloat16()
        return found

    def ours(self, size: int) -> Found:
        """As the stages compute it."""
        use_lean_lora(self.adapted)
        model: LanguageModel = random_weights.family(self.name)(
            self.adapted.base_model.model, self.small.processor, "cuda"
        )
        model.compile()
        if self.inductor:
            for layer in model.layers():
                layer.compile(dynamic=True, options=self.inductor)
        model.learn()
        for parameter in self.learnt:
            parameter.grad = torch.zeros_like(parameter)
        logits, lessons = [], []
        for chosen in self.batches(size):
            batch = model.collate(self.percepts[chosen], self.prompts[chosen])
            with torch.inference_mode(), self.adapted.disable_adapter():
                logits.append(model.letters(model.answer_logits(dict(batch))).clone())
            clips = len(self.says[chosen])
            nothing = torch.zeros(clips, dtype=torch.bool), torch.zeros(clips, 10)
            lessons.append((batch, self.says[chosen], *nothing, model.letter_ids.repeat(clips, 1)))
        passes = fastest(model, self.learnt, gpu.TRAINING)
        for lesson in passes.ahead(lessons):
            passes.learn(lesson, self.clips)
        return Found(torch.cat(logits), self.gradients())

    def rows(self) -> None:
        """Print the two rows of this model."""
        exact = self.exact()
        gpu.released()
        plain = []
        for size in SIZES:
            if size <= self.clips:
                try:
                    plain.append(self.plain(size))
                except torch.cuda.OutOfMemoryError:
                    break
                finally:
                    self.adapted.zero_grad()
                    gpu.released()
        ours = self.ours(min(4, self.clips))
        for what in ("logits", "gradients"):
            true, mine = getattr(exact, what), getattr(ours, what)
            theirs = [getattr(found, what) for found in plain]
            far = (
                max(apart(mine, other) for other in theirs),
                max(apart(one, other) for one, other in combinations(theirs, 2)),
                apart(mine, true),
                max(apart(other, true) for other in theirs),
            )
            shown = " | ".join(f"{value:.1e}" for value in far)
            print(f"| {self.name}, {self.clips} clips | {what} | {shown} |", flush=True)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float((found - expected).norm() / expected.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_weights.NAMES)
    parser.add_argument(
        "--inductor", nargs="+", default=[], metavar="NAME=0 or 1", help="options of torch's compiler, for ours"
    )
    given = parser.parse_args()
    inductor = {name: value == "1" for name, _, value in (option.partition("=") for option in given.inductor)}
    if not torch.cuda.is_available():
        print("no GPU here: this needs one of 80 GB")
        return
    device.pick()
    print("| model | what | ours from plain | plain from itself | ours from float32 | plain from float32 |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in given.models:
        Comparison(name, inductor).rows()
        gpu.released()


if __name__ == "__main__":
    main()
