"""Where ours parts from plain transformers in bfloat16: the first layer, and the step in it, that differs in a bit.

Any difference of a bit grows through the layers to that of two independent roundings, so distances at the end
(agreement.py) do not tell where it began. Here both get the same four clips. Of each stack of layers: the share of
elements that differ in what enters its first layer and its last (both uncompiled), and, every layer fed with what plain
fed it, the share that differs after that layer alone. Before that the steps within a stack's first layer, uncompiled.

Without a GPU it runs with small models on the CPU, where other kernels run.

examples:
  python benchmarks/parting.py                          both of the paper's models
  python benchmarks/parting.py --models qwen2.5-vl --ours eager compiled compiled:emulate_precision_casts=0
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

import agreement
import gpu
import torch
from tools.noise import percepts, prompts
from tools.plain import HERE, plain_inputs, plain_model, small_model

from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.utils import device

CLIPS = 4


@dataclass
class Call:
    """One call of a module: what came in first, what else, and what came out first."""

    hidden: torch.Tensor
    others: tuple
    named: dict
    out: torch.Tensor


def recorded(modules: dict[str, torch.nn.Module], work: Callable[[], object]) -> dict[str, Call]:
    """The last call of each of these modules during `work`."""
    calls, hooks = {}, []
    for name, module in modules.items():

        def keep(_module, given: tuple, named: dict, out: object, name: str = name) -> None:
            named = dict(named)
            hidden = given[0] if given else named.pop("hidden_states", None)
            out = out[0] if isinstance(out, tuple) else out
            if isinstance(out, torch.Tensor):
                calls[name] = Call(hidden, given[1:], named, out)

        hooks.append(module.register_forward_hook(keep, with_kwargs=True))
    with torch.no_grad():
        work()
    for hook in hooks:
        hook.remove()
    return calls


class Parting:
    """One model, plain and ours, with the same weights and clips."""

    def __init__(self, name: str) -> None:
        small, plain = small_model(name), plain_model(name)
        inputs = plain_inputs(small, CLIPS)
        self.mask = inputs["attention_mask"].bool()
        self.at = self.mask.sum(1) - 1
        names = {id(module): path for path, module in small.model.named_modules()}
        everything = dict(plain.named_modules())
        stacks = {names[id(layer)].rpartition(".")[0] for layer in small.layers()}
        self.stacks = {
            stack: {f"{stack}.{i}": layer for i, layer in enumerate(everything[stack])} for stack in sorted(stacks)
        }
        layers = {path: layer for stack in self.stacks.values() for path, layer in stack.items()}
        firsts = tuple(f"{stack}.0." for stack in stacks)
        steps = {path: part for path, part in everything.items() if path.startswith(firsts)}
        self.plain = recorded({**layers, **steps}, lambda: plain(**inputs, use_cache=False))
        self.name, self.model = name, random_init.get_model_class(name)(plain, small.processor, HERE)
        model: LanguageModel = self.model
        batch = model.collate(percepts(small, CLIPS), prompts(CLIPS))
        self.ours = recorded(layers, lambda: model.answer_logits(dict(batch)))

    def differs(self, plain: torch.Tensor, ours: torch.Tensor) -> float:
        """Share of elements that differ, of what ours computes of plain's positions and no padding covers."""
        if plain.shape != ours.shape and ours.shape[1] == 1:
            plain = plain[torch.arange(len(self.at)), self.at][:, None]
        plain = self.cropped(plain, ours)
        if ours.shape[:2] == self.mask.shape:
            plain, ours = plain[self.mask], ours[self.mask]
        return float((plain != ours).float().mean())

    @staticmethod
    def cropped(plain: torch.Tensor, ours: torch.Tensor) -> torch.Tensor:
        return plain[tuple(slice(0, size) for size in ours.shape)]

    @torch.inference_mode()
    def alone(self, path: str, layer: torch.nn.Module) -> torch.Tensor:
        """What our layer makes of plain's input."""
        call = self.ours[path]
        out = layer(self.cropped(self.plain[path].hidden, call.hidden), *call.others, **call.named)
        return out[0] if isinstance(out, tuple) else out

    def rows(self, ways: list[str]) -> None:
        """Print a row for each stack and way; `ways` as agreement.py has them."""
        for way in ways:
            agreement.compile_layers(self.model, way)
            for stack, layers in self.stacks.items():
                first, *_, last = layers
                came = (self.differs(self.plain[p].hidden, self.ours[p].hidden) for p in (first, last))
                shares = [
                    self.differs(self.plain[p].out, self.alone(p, layers[p]))
                    for p in layers
                    if self.ours[p].out.shape == self.ours[p].hidden.shape  # but the one cut at the answer
                ]
                shown = " | ".join(f"{share:.3%}" for share in (*came, mean(shares), max(shares)))
                print(f"| {self.name} | {stack} | {way} | {shown} |")

    def steps(self) -> None:
        """Print the steps within each stack's first layer, fed with plain's input; before anything is compiled."""
        for layers in self.stacks.values():
            path, layer = next(iter(layers.items()))
            parts = {f"{path}.{name}": part for name, part in layer.named_modules() if name}
            made = recorded(parts, lambda path=path, layer=layer: self.alone(path, layer))
            for name, call in made.items():
                came, left = (self.differs(getattr(self.plain[name], x), getattr(call, x)) for x in ("hidden", "out"))
                print(f"| {self.name} | {name} | {came:.3%} | {left:.3%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["qwen2-audio", "qwen2-vl"], choices=random_init.CONFIG_FAMILIES)
    agreement.add_ways(parser, [agreement.EAGER, agreement.AS_THE_STAGES])
    given = parser.parse_args()
    device.select_device()
    for name in given.models:
        both = Parting(name)
        print("\n| model | step, uncompiled | what comes differs | what leaves differs |\n|---|---|---|---|")
        both.steps()
        print("\n| model | layers | ours | enters first | enters last | one alone: mean | most |")
        print("|---|---|---|---|---|---|---|", flush=True)
        both.rows(given.ours)
        del both
        gpu.released()


if __name__ == "__main__":
    main()
