"""Locate where accelerated bfloat16 models diverge from plain transformers: the layer, and the module within it.

A difference in a single bit is amplified by later layers until it is as large as rounding error, so the differences of
the outputs (agreement.py) do not show where it originates. Here both models get the same four clips. The first table
has the modules within the first layer of each stack, uncompiled, with the plain model's activations as input. The
second has, per stack of layers, the fraction of elements that differ in the input of the first and of the last layer
(both uncompiled), and, with the plain model's activations as input of every layer, the fraction that differs in its
output.

Without a GPU, small models run on the CPU, which uses different kernels.

examples:
  python benchmarks/divergence_by_layer.py                          both of the paper's models
  python benchmarks/divergence_by_layer.py --models qwen2.5-vl --variants eager compiled \\
    compiled:emulate_precision_casts=0
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import agreement
import gpu
import torch
from tools.noise import make_prompts, noise_clips
from tools.plain import DEVICE, plain_inputs, plain_model, small_model

from synesthesia import acceleration
from synesthesia.config import AccelerationConfig
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.utils import device

N_CLIPS = 4


@dataclass
class ModuleCall:
    """One call of a module: first input, other arguments, first output."""

    input: torch.Tensor
    args: tuple
    kwargs: dict
    output: torch.Tensor


def record_calls(modules: dict[str, torch.nn.Module], work: Callable[[], object]) -> dict[str, ModuleCall]:
    """Record the last call of each module while `work` runs."""
    calls, handles = {}, []
    for name, module in modules.items():

        def hook(_module, args: tuple, kwargs: dict, output: object, name: str = name) -> None:
            kwargs = dict(kwargs)
            first_input = args[0] if args else kwargs.pop("hidden_states", None)
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor):
                calls[name] = ModuleCall(first_input, args[1:], kwargs, output)

        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    with torch.no_grad():
        work()
    for handle in handles:
        handle.remove()
    return calls


class Divergence:
    """One model, plain and accelerated, with the same weights and clips."""

    def __init__(self, name: str) -> None:
        small, plain = small_model(name), plain_model(name)
        inputs = plain_inputs(small, N_CLIPS)
        self.mask = inputs["attention_mask"].bool()
        self.positions = self.mask.sum(1) - 1
        paths = {id(module): path for path, module in small.model.named_modules()}
        modules = dict(plain.named_modules())
        stacks = {paths[id(layer)].rpartition(".")[0] for layer in small.layers()}
        self.stacks = {
            stack: {f"{stack}.{i}": layer for i, layer in enumerate(modules[stack])} for stack in sorted(stacks)
        }
        layers = {path: layer for stack in self.stacks.values() for path, layer in stack.items()}
        prefixes = tuple(f"{stack}.0." for stack in stacks)
        submodules = {path: module for path, module in modules.items() if path.startswith(prefixes)}
        self.plain = record_calls({**layers, **submodules}, lambda: plain(**inputs, use_cache=False))
        self.name = name
        self.model: LanguageModel = random_init.get_model_class(name)(plain, small.processor, DEVICE)
        acceleration.apply(self.model, AccelerationConfig())
        batch = self.model.collate(noise_clips(small, N_CLIPS), make_prompts(N_CLIPS))
        self.accelerated = record_calls(layers, lambda: self.model.answer_logits(dict(batch)))

    def fraction_different(self, plain: torch.Tensor, accelerated: torch.Tensor) -> float:
        """Return the fraction of elements that differ, over positions that both compute and that are not padding."""
        if plain.shape != accelerated.shape and accelerated.shape[1] == 1:
            plain = plain[torch.arange(len(self.positions)), self.positions][:, None]
        plain = self.crop(plain, accelerated)
        if accelerated.shape[:2] == self.mask.shape:
            plain, accelerated = plain[self.mask], accelerated[self.mask]
        return float((plain != accelerated).float().mean())

    @staticmethod
    def crop(plain: torch.Tensor, accelerated: torch.Tensor) -> torch.Tensor:
        return plain[tuple(slice(0, size) for size in accelerated.shape)]

    @torch.inference_mode()
    def run_layer(self, path: str, layer: torch.nn.Module) -> torch.Tensor:
        """Run one accelerated layer on the plain model's activations."""
        call = self.accelerated[path]
        output = layer(self.crop(self.plain[path].input, call.input), *call.args, **call.kwargs)
        return output[0] if isinstance(output, tuple) else output

    def print_layers(self, variants: list[str]) -> None:
        """Print a row per stack and variant; `variants` as in agreement.py."""
        for variant in variants:
            agreement.compile_variant(self.model, variant)
            for stack, layers in self.stacks.items():
                first, *_, last = layers
                inputs = (
                    self.fraction_different(self.plain[p].input, self.accelerated[p].input) for p in (first, last)
                )
                outputs = [
                    self.fraction_different(self.plain[p].output, self.run_layer(p, layers[p]))
                    for p in layers
                    # except the last layer, which computes only the answer position
                    if self.accelerated[p].output.shape == self.accelerated[p].input.shape
                ]
                columns = " | ".join(f"{value:.3%}" for value in (*inputs, mean(outputs), max(outputs)))
                print(f"| {self.name} | {stack} | {variant} | {columns} |")

    def print_modules(self) -> None:
        """Print the modules within the first layer of each stack; call before compilation."""
        for layers in self.stacks.values():
            path, layer = next(iter(layers.items()))
            submodules = {f"{path}.{name}": module for name, module in layer.named_modules() if name}
            calls = record_calls(submodules, lambda path=path, layer=layer: self.run_layer(path, layer))
            for name, call in calls.items():
                input_fraction = self.fraction_different(self.plain[name].input, call.input)
                output_fraction = self.fraction_different(self.plain[name].output, call.output)
                print(f"| {self.name} | {name} | {input_fraction:.3%} | {output_fraction:.3%} |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    agreement.add_variants(parser, [agreement.EAGER, agreement.COMPILED])
    args = parser.parse_args()
    device.select_device()
    for name in args.models:
        divergence = Divergence(name)
        print("\n| model | module, uncompiled | input differs | output differs |\n|---|---|---|---|")
        divergence.print_modules()
        print("\n| model | layers | variant | input of first | input of last | output per layer: mean | max |")
        print("|---|---|---|---|---|---|---|", flush=True)
        divergence.print_layers(args.variants)
        del divergence
        gpu.free_memory()


if __name__ == "__main__":
    main()
