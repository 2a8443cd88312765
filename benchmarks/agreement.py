"""Numerical agreement of accelerated bfloat16 models with plain transformers + peft and with float32, at full size.

Compares the logits of the ten letters and the LoRA gradients on the same clips: accelerated (compiled, CUDA graph, no
padding), plain transformers and peft with batch sizes 1, 2, 4, and 8, and plain in float32 with the same weights. The
batch size changes the kernels' order of summation, so plain results differ between batch sizes; accelerated results
should differ from plain ones by no more than that. Differences are relative norms: mean over batch sizes, and maximum.
Models have the full-size configuration and random weights; gradients are those of an adapter with B != 0.

peft computes an adapter in float32 by default, and in bfloat16 in mixed precision (the Trainer's `bf16`, accelerate's
`mixed_precision`, and this project): gradients are compared with both.

Without a GPU, small models run on the CPU: this checks that the benchmark runs; its figures are not meaningful.

examples:
  python benchmarks/agreement.py                        both of the paper's models
  python benchmarks/agreement.py --models qwen2-audio
  python benchmarks/agreement.py --variants eager compiled compiled:emulate_precision_casts=0,pattern_matcher=0
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

import gpu
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tools.noise import make_prompts, noise_clips
from tools.plain import DEVICE, is_floating, plain_inputs, plain_model, small_model

from synesthesia import acceleration
from synesthesia.acceleration import compile as compilation
from synesthesia.config import AccelerationConfig
from synesthesia.distillation.step import make_step
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.utils import device

BATCH_SIZES = [1, 2, 4, 8]
GRADIENTS = {"gradients, peft in float32": False, "gradients, peft in mixed precision": True}  # name: autocast
EAGER, COMPILED = "eager", "compiled"


@dataclass
class Outputs:
    """Letter logits float32 (clips, 10) without adapter, and per entry of `GRADIENTS` all gradients, flat float32."""

    logits: torch.Tensor
    gradients: dict[str, torch.Tensor]

    def get(self, quantity: str) -> torch.Tensor:
        return self.logits if quantity == "logits" else self.gradients[quantity]


class Comparison:
    """One model and its clips. Plain runs must come first, because acceleration patches the model in place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.n_clips = 8 if name == "qwen2-audio" else 4  # the maximum for peft without gradient checkpointing
        self.small = small_model(name)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules=self.small.lora_targets)
        self.peft_model: PeftModel = get_peft_model(plain_model(name), lora)
        self.params = [p for p in self.peft_model.parameters() if p.requires_grad]
        torch.manual_seed(1)
        for param in self.params:
            param.data = 0.02 * torch.randn_like(param)
        self.clips, self.prompts = noise_clips(self.small, self.n_clips), make_prompts(self.n_clips)
        self.labels = torch.arange(self.n_clips) % 10
        self.letter_ids = self.small.letter_ids.to(DEVICE)
        self.model: LanguageModel | None = None

    def batches(self, size: int) -> list[slice]:
        return [slice(start, start + size) for start in range(0, self.n_clips, size)]

    def take_gradients(self) -> torch.Tensor:
        """Return all gradients in one vector and clear them."""
        gradients = torch.cat([p.grad.flatten() for p in self.params])
        for param in self.params:
            param.grad = None
        return gradients

    def run_plain(self, size: int, dtype: torch.dtype = torch.bfloat16) -> Outputs:
        """Compute with transformers and peft at batch size `size`."""
        logits, gradients = [], {}

        def load_inputs(part: slice) -> dict:
            inputs = plain_inputs(self.small, self.n_clips, part)
            return {k: v.to(dtype) if is_floating(v) else v for k, v in inputs.items()}

        def answer_logits(inputs: dict) -> torch.Tensor:
            positions = inputs["attention_mask"].sum(1) - 1
            return self.peft_model(**inputs, use_cache=False).logits[torch.arange(len(positions)), positions].float()

        for part in self.batches(size):
            with torch.no_grad(), self.peft_model.disable_adapter():
                logits.append(answer_logits(load_inputs(part))[:, self.letter_ids])
        for quantity, use_autocast in GRADIENTS.items():
            for part in self.batches(size):
                inputs, target_ids = load_inputs(part), self.letter_ids[self.labels[part].to(DEVICE)]
                with torch.autocast(DEVICE, torch.bfloat16, enabled=use_autocast and dtype == torch.bfloat16):
                    batch_logits = answer_logits(inputs)
                loss = torch.nn.functional.cross_entropy(batch_logits, target_ids, reduction="sum")
                (loss / self.n_clips).backward()
            gradients[quantity] = self.take_gradients()
        return Outputs(torch.cat(logits), gradients)

    def run_float32(self) -> Outputs:
        """Compute with transformers and peft in float32, with weights rounded to bfloat16."""
        frozen = [*(p for p in self.peft_model.parameters() if not p.requires_grad), *self.peft_model.buffers()]
        bfloat16_tensors = [tensor for tensor in frozen if tensor.dtype == torch.bfloat16]
        for tensor in bfloat16_tensors:
            tensor.data = tensor.data.float()
        outputs = self.run_plain(1, torch.float32)
        for tensor in bfloat16_tensors:
            tensor.data = tensor.data.bfloat16()
        return outputs

    def run_accelerated(self, size: int, variant: str) -> Outputs:
        """Compute as the pipeline does, or with other compiler options; `variant` is a value of --variants."""
        if self.model is None:
            base_model, processor = self.peft_model.base_model.model, self.small.processor
            self.model = random_init.get_model_class(self.name)(base_model, processor, DEVICE)
            acceleration.apply(self.model, AccelerationConfig())
            acceleration.apply_to_lora(self.model)
        model = self.model
        compile_variant(model, variant)
        model.model.eval()  # as in evaluation
        for param in self.params:
            param.grad = torch.zeros_like(param)
        logits, training_batches = [], []
        for part in self.batches(size):
            batch = model.collate(self.clips[part], self.prompts[part])
            with torch.inference_mode(), self.peft_model.disable_adapter():
                logits.append(model.letter_logits(model.answer_logits(dict(batch))).clone())
            labels = self.labels[part]
            no_teacher = torch.zeros(len(labels), dtype=torch.bool), torch.zeros(len(labels), 10)
            training_batches.append((batch, labels, *no_teacher, model.letter_ids.repeat(len(labels), 1)))
        model.train_mode()
        step = make_step(model, self.params, gpu.TRAINING)
        for micro_batch in step.prefetch(training_batches):
            step.forward_backward(micro_batch, self.n_clips)
        return Outputs(torch.cat(logits), dict.fromkeys(GRADIENTS, self.take_gradients()))

    def print_rows(self, variants: list[str]) -> None:
        """Print the rows of this model."""
        float32 = self.run_float32()
        gpu.free_memory()
        plain = []
        for size in BATCH_SIZES:
            if size <= self.n_clips:
                try:
                    plain.append(self.run_plain(size))
                except torch.cuda.OutOfMemoryError:
                    break
                finally:
                    self.peft_model.zero_grad()
                    gpu.free_memory()
        for variant in variants:
            accelerated = self.run_accelerated(min(4, self.n_clips), variant)
            gpu.free_memory()
            for quantity in ("logits", *GRADIENTS):
                value, float32_value = accelerated.get(quantity), float32.get(quantity)
                plain_values = [outputs.get(quantity) for outputs in plain]
                differences = (
                    [relative_difference(value, plain_value) for plain_value in plain_values],
                    [relative_difference(a, b) for a, b in combinations(plain_values, 2)],
                    [relative_difference(value, float32_value)],
                    [relative_difference(plain_value, float32_value) for plain_value in plain_values],
                )
                columns = " | ".join(f"{mean(values):.1e}, {max(values):.1e}" for values in differences)
                print(f"| {self.name}, {self.n_clips} clips | {quantity} | {variant} | {columns} |", flush=True)


def compile_variant(model: LanguageModel, variant: str) -> None:
    """Compile a model according to a value of --variants; a compiled model may be recompiled with other options."""
    mode, _, options = variant.partition(":")
    if mode == COMPILED and not model.is_compiled:
        compilation.compile_model(model)
    if options:
        torch._dynamo.reset()
        inductor_options = {name: value == "1" for name, _, value in (o.partition("=") for o in options.split(","))}
        compilation.compile_layers(model.layers(), **inductor_options)


def relative_difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of the reference."""
    return float((value - reference).norm() / reference.norm())


def add_variants(parser: argparse.ArgumentParser, default: list[str]) -> None:
    """Add --variants to a parser."""
    parser.add_argument(
        "--variants",
        nargs="+",
        default=default,
        metavar="VARIANT",
        help=f"{EAGER} (must be the first), {COMPILED} (as in the pipeline), or {COMPILED}: with options of torch's "
        "compiler, NAME=0 or NAME=1, separated by commas",
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    add_variants(parser, [COMPILED])
    args = parser.parse_args()
    device.select_device()
    if DEVICE == "cpu":
        print("no GPU: small models on the CPU; the figures are not meaningful")
    print("| model | quantity | variant | to plain: mean, max | plain to plain | to float32 | plain to float32 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in args.models:
        Comparison(name).print_rows(args.variants)
        gpu.free_memory()


if __name__ == "__main__":
    main()
