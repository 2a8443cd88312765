"""An adapter's small weights in the precision that its layers learn in.

An adapter on every linear layer of a 7B model has some 450 small weights. Rounding them, and adding up their gradients,
one by one took a thousand kernels of 2 microseconds a step on a GPU; `WorkingCopies` does it for all together. It also
lets layers that get the same input share one product down to their ranks, there and back: a GPU is no busier with 48
columns than with 16, and a step of Qwen2-Audio has 500 kernels fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear

SHARED_INPUT_GROUPS = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
)  # in the layers of all families' decoders


class PerLayerWeights:
    """Small weights that each layer rounds for itself."""

    def refresh(self) -> None:
        """Nothing has to be done before a pass."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients to the `grad` of the weights."""
        loss.backward()


class StackedLoraA:
    """The A of layers that get one and the same input, below each other: one product for all of them."""

    def __init__(self, weights: list[torch.Tensor], dtype: torch.dtype) -> None:
        ranks = [len(weight) for weight in weights]
        self.weight = torch.empty(
            sum(ranks), weights[0].shape[1], dtype=dtype, device=weights[0].device, requires_grad=True
        )
        self.layer_slices = self.weight.detach().split(ranks)  # where the layers' own are rounded to
        self.ranks, self._num_pending = ranks, 0
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()

    def project(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """A x of the layer at this place: computed for all when the first of them comes, forgotten after the last."""
        if self._input is not x:
            self._input, self._outputs, self._num_pending = (
                x,
                F.linear(x, self.weight).split(self.ranks, -1),
                len(self.ranks),
            )
        made = self._outputs[index]
        self._num_pending -= 1
        if not self._num_pending:
            self._input, self._outputs = None, ()
        return made


@dataclass
class LoraSlice:
    """What a layer learns with (lean_lora.Working): its part of a `Down`, and s B."""

    stacked_lora_a: StackedLoraA
    index: int
    scaled_lora_b: torch.Tensor

    @property
    def lora_a(self) -> torch.Tensor:
        return self.stacked_lora_a.weight.split(self.stacked_lora_a.ranks)[self.index]

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return self.stacked_lora_a.project(x, self.index)


class GroupedLoraWeights(PerLayerWeights):
    """Small weights of lean layers in the model's precision, rounded and given their gradients together.

    The numbers of `AsTheyAre`, but that gradients towards a shared input are added up before they are rounded.
    """

    def __init__(self, layers: dict[str, MixedPrecisionLoraLinear]) -> None:
        precision = next(iter(layers.values())).base_layer.weight.dtype
        self._downs: list[torch.nn.Parameter] = []
        self._ups: list[torch.nn.Parameter] = []
        self._scales: list[float] = []
        self._stacked_lora_a: list[StackedLoraA] = []
        self._layers: list[MixedPrecisionLoraLinear] = []
        self._working: list[LoraSlice] = []
        for group in _group_by_input(layers):
            names = [layer.active_adapters[0] for layer in group]
            downs = [layer.lora_A[name].weight for layer, name in zip(group, names, strict=True)]
            ups = [layer.lora_B[name].weight for layer, name in zip(group, names, strict=True)]
            shared = StackedLoraA(downs, precision)
            self._working += [
                LoraSlice(shared, place, torch.empty_like(up, dtype=precision, requires_grad=True))
                for place, up in enumerate(ups)
            ]
            self._stacked_lora_a.append(shared)
            self._downs += downs
            self._ups += ups
            self._scales += [float(layer.scaling[name]) for layer, name in zip(group, names, strict=True)]
            self._layers += group
        self._weights = [*self._downs, *self._ups]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights as they are now, and let the layers compute with these copies."""
        copies = [part for shared in self._stacked_lora_a for part in shared.layer_slices] + [
            w.scaled_lora_b for w in self._working
        ]
        torch._foreach_copy_(copies, [*self._downs, *torch._foreach_mul(self._ups, self._scales)])
        for layer, working in zip(self._layers, self._working, strict=True):
            layer.compute_weights = working

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients, float32, to the `grad` of the weights."""
        copies = [shared.weight for shared in self._stacked_lora_a] + [
            working.scaled_lora_b for working in self._working
        ]
        rounded = torch.autograd.grad(loss, copies, materialize_grads=True)
        downs = [
            part
            for shared, made in zip(self._stacked_lora_a, rounded[: len(self._stacked_lora_a)], strict=True)
            for part in made.split(shared.ranks)
        ]
        with torch.no_grad():
            gradients = [torch.empty_like(weight) for weight in self._weights]
            torch._foreach_copy_(gradients, [*downs, *rounded[len(self._stacked_lora_a) :]])
            torch._foreach_mul_(gradients[len(self._downs) :], self._scales)
            for weight in self._weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_([weight.grad for weight in self._weights], gradients)


def _group_by_input(layers: dict[str, MixedPrecisionLoraLinear]) -> list[list[MixedPrecisionLoraLinear]]:
    """Layers by their paths, those together that get the same input: without dropout, which is each one's own."""
    groups: dict[object, list[MixedPrecisionLoraLinear]] = {}
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        kind = next((kind for kind in SHARED_INPUT_GROUPS if name in kind), name)
        groups.setdefault(path if layer.has_dropout else (parent, kind), []).append(layer)
    return list(groups.values())


def build_lora_weights(model: torch.nn.Module, grouped: bool) -> PerLayerWeights:
    """The adapter's weights, rounded `together` if asked for and if there are no others to learn."""
    layers = {path: module for path, module in model.named_modules() if type(module) is MixedPrecisionLoraLinear}
    learnt = sum(parameter.requires_grad for parameter in model.parameters())
    return GroupedLoraWeights(layers) if grouped and layers and learnt == 2 * len(layers) else PerLayerWeights()
