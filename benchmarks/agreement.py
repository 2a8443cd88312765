"""How far our bfloat16 is from plain transformers' and peft's at full size, and how far both are from float32.

The ten letters' logits, and the LoRA gradients, of the same few clips: by ours (compiled, replayed, without padding),
by plain transformers and peft in batches of one, two, four and eight, and by plain ones in float32 with the same
weights. A batch's size changes which kernels add up in which order, so plain differs from itself too; ours should be no
farther from plain than that. Differences are relative, by norm: their mean over batch sizes, and the largest. Models
have the real configuration and random weights; gradients are of an adapter as after some learning (B is not zero).

peft computes an adapter in float32 where nothing says otherwise, and in bfloat16 in mixed precision (as the Trainer's
`bf16` or accelerate's `mixed_precision` has it, which ours does too): gradients are compared with both.

Without a GPU it runs with small models on the CPU: the script can be tried there, its figures mean nothing.

examples:
  python benchmarks/agreement.py                        both of the paper's models
  python benchmarks/agreement.py --models qwen2-audio
  python benchmarks/agreement.py --ours eager compiled compiled:emulate_precision_casts=0,pattern_matcher=0
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import gpu
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tools.noise import percepts, prompts
from tools.plain import HERE, fractional, plain_inputs, plain_model, small_model

from synesthesia.acceleration import compile
from synesthesia.distillation import adapters
from synesthesia.distillation.step import make_step
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.utils import device

SIZES = [1, 2, 4, 8]
RECIPES = {"gradients, peft in float32": False, "gradients, peft in mixed precision": True}
EAGER, AS_THE_STAGES = "eager", "compiled"


@dataclass
class Found:
    """Letter logits float32 (clips, 10), the adapter left out, and by recipe all gradients in a row, float32."""

    logits: torch.Tensor
    gradients: dict[str, torch.Tensor]

    def of(self, what: str) -> torch.Tensor:
        return self.logits if what == "logits" else self.gradients[what]


class Comparison:
    """One model and its clips; plain first, since ours changes the model in place."""

    def __init__(self, name: str) -> None:
        self.name, self.clips = name, 8 if name == "qwen2-audio" else 4  # what peft without checkpointing holds
        self.small = small_model(name)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=self.small.lora_targets)
        self.adapted: PeftModel = get_peft_model(plain_model(name), lora)
        self.learnt = [p for p in self.adapted.parameters() if p.requires_grad]
        torch.manual_seed(1)
        for parameter in self.learnt:
            parameter.data = 0.02 * torch.randn_like(parameter)
        self.percepts, self.prompts = percepts(self.small, self.clips), prompts(self.clips)
        self.says = torch.arange(self.clips) % 10
        self.letters = self.small.letter_ids.to(HERE)
        self.model: LanguageModel | None = None

    def batches(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, self.clips, size)]

    def gradients(self) -> torch.Tensor:
        made = torch.cat([p.grad.flatten() for p in self.learnt])
        for parameter in self.learnt:
            parameter.grad = None
        return made

    def plain(self, size: int, precision: torch.dtype = torch.bfloat16) -> Found:
        """As transformers and peft compute it in batches of `size`."""
        logits, gradients = [], {}

        def inputs_of(chosen: slice) -> dict:
            made = plain_inputs(self.small, self.clips, chosen)
            return {k: v.to(precision) if fractional(v) else v for k, v in made.items()}

        def at_answer(inputs: dict) -> torch.Tensor:
            at = inputs["attention_mask"].sum(1) - 1
            return self.adapted(**inputs, use_cache=False).logits[torch.arange(len(at)), at].float()

        for chosen in self.batches(size):
            with torch.no_grad(), self.adapted.disable_adapter():
                logits.append(at_answer(inputs_of(chosen))[:, self.letters])
        for recipe, mixed in RECIPES.items():
            for chosen in self.batches(size):
                inputs, says = inputs_of(chosen), self.letters[self.says[chosen].to(HERE)]
                with torch.autocast(HERE, torch.bfloat16, enabled=mixed and precision == torch.bfloat16):
                    said = at_answer(inputs)
                (torch.nn.functional.cross_entropy(said, says, reduction="sum") / self.clips).backward()
            gradients[recipe] = self.gradients()
        return Found(torch.cat(logits), gradients)

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

    def ours(self, size: int, way: str) -> Found:
        """As the stages compute it, or otherwise: `way` is as of --ours."""
        if self.model is None:
            core, processor = self.adapted.base_model.model, self.small.processor
            self.model = random_init.get_model_class(self.name)(core, processor, HERE)
            adapters.accelerate_lora(self.model)
        model = self.model
        compile_layers(model, way)
        model.model.eval()  # as a model answers
        for parameter in self.learnt:
            parameter.grad = torch.zeros_like(parameter)
        logits, lessons = [], []
        for chosen in self.batches(size):
            batch = model.collate(self.percepts[chosen], self.prompts[chosen])
            with torch.inference_mode(), self.adapted.disable_adapter():
                logits.append(model.letter_logits(model.answer_logits(dict(batch))).clone())
            clips = len(self.says[chosen])
            nothing = torch.zeros(clips, dtype=torch.bool), torch.zeros(clips, 10)
            lessons.append((batch, self.says[chosen], *nothing, model.letter_ids.repeat(clips, 1)))
        model.train_mode()
        passes = make_step(model, self.learnt, gpu.TRAINING)
        for lesson in passes.prefetch(lessons):
            passes.forward_backward(lesson, self.clips)
        return Found(torch.cat(logits), dict.fromkeys(RECIPES, self.gradients()))

    def rows(self, ways: list[str]) -> None:
        """Print the rows of this model."""
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
        for way in ways:
            ours = self.ours(min(4, self.clips), way)
            gpu.released()
            for what in ("logits", *RECIPES):
                mine, true, theirs = ours.of(what), exact.of(what), [found.of(what) for found in plain]
                far = (
                    [apart(mine, other) for other in theirs],
                    [apart(one, other) for one, other in combinations(theirs, 2)],
                    [apart(mine, true)],
                    [apart(other, true) for other in theirs],
                )
                shown = " | ".join(f"{mean(values):.1e}, {max(values):.1e}" for values in far)
                print(f"| {self.name}, {self.clips} clips | {what} | {way} | {shown} |", flush=True)


def compile_layers(model: LanguageModel, way: str) -> None:
    """Compile as one of --ours says; once compiled, a model stays so, but in another way."""
    compiled, _, options = way.partition(":")
    if compiled == AS_THE_STAGES and not model.is_compiled:
        model.compile()
    if options:
        torch._dynamo.reset()
        inductor = {name: value == "1" for name, _, value in (o.partition("=") for o in options.split(","))}
        compile.compile_layers(model.layers(), **inductor)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    return float((found - expected).norm() / expected.norm())


def add_ways(parser: argparse.ArgumentParser, default: list[str]) -> None:
    parser.add_argument(
        "--ours",
        nargs="+",
        default=default,
        metavar="WAY",
        help=f"{EAGER} (first, if at all), {AS_THE_STAGES} (as the stages do), or {AS_THE_STAGES}: and options of "
        "torch's compiler, NAME=0 or NAME=1 with commas between",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    add_ways(parser, [AS_THE_STAGES])
    given = parser.parse_args()
    device.select_device()
    if HERE == "cpu":
        print("no GPU here: small models on the CPU, whose figures mean nothing")
    print("| model | what | ours | from plain: mean, most | plain from itself | from float32 | plain from float32 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.models:
        Comparison(name).rows(given.ours)
        gpu.released()


if __name__ == "__main__":
    main()
