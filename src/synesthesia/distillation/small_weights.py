"""An adapter's small weights in the precision that its layers learn in.

An adapter on every linear layer of a 7B model has some 450 small weights. Rounding them, and adding up their gradients,
one by one took a thousand kernels of 2 microseconds a step on a GPU; `WorkingCopies` does it for all together, and lets
their layers learn as wide ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from synesthesia.distillation.lean_lora import LeanLoraLinear
from synesthesia.distillation.wide_layers import WideLayer

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # in the layers of all families' decoders


class AsTheyAre:
    """Small weights that each layer rounds for itself."""

    def __init__(self, layers: Iterable[LeanLoraLinear]) -> None:
        self._layers = list(layers)

    def renew(self) -> None:
        """Before a pass: let the layers compute so."""
        for layer in self._layers:
            layer.learns_wide = False

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients to the `grad` of the weights."""
        loss.backward()


@dataclass
class Place:
    """One of a wide layer's (lean_lora.Wide)."""

    layer: WideLayer
    place: int

    def of(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer.of(x, self.place)


class WorkingCopies(AsTheyAre):
    """Small weights of lean layers in the model's precision, rounded and given their gradients together.

    The layers' frozen weights move into wide layers, once; any number of these may then renew them in turn.
    """

    def __init__(self, layers: dict[str, LeanLoraLinear]) -> None:
        super().__init__(layers.values())
        self._wide: list[WideLayer] = []
        self._downs: list[torch.nn.Parameter] = []
        self._ups: list[torch.nn.Parameter] = []
        self._scales: list[float] = []
        for group in _same_input(layers):
            if group[0].wide is None:
                wide = WideLayer(group)
                for place, layer in enumerate(group):
                    layer.wide = Place(wide, place)
            self._wide.append(group[0].wide.layer)
            names = [layer.active_adapters[0] for layer in group]
            self._downs += [layer.lora_A[name].weight for layer, name in zip(group, names, strict=True)]
            self._ups += [layer.lora_B[name].weight for layer, name in zip(group, names, strict=True)]
            self._scales += [float(layer.scaling[name]) for layer, name in zip(group, names, strict=True)]
        self._weights = [*self._downs, *self._ups]

    @torch.no_grad()
    def renew(self) -> None:
        """Round the weights as they are now, to where the layers compute with them."""
        for layer in self._layers:
            layer.learns_wide = True
        torch._foreach_copy_([down for wide in self._wide for down in wide.downs], self._downs)
        ups = [up.detach() for wide in self._wide for up in wide.ups]
        torch._foreach_copy_(ups, torch._foreach_mul(self._ups, self._scales))

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients, float32, to the `grad` of the weights."""
        copies = [wide.down for wide in self._wide] + [up for wide in self._wide for up in wide.ups]
        rounded = torch.autograd.grad(loss, copies, materialize_grads=True)
        downs = [
            part
            for wide, made in zip(self._wide, rounded[: len(self._wide)], strict=True)
            for part in made.split(wide.ranks)
        ]
        with torch.no_grad():
            gradients = [torch.empty_like(weight) for weight in self._weights]
            torch._foreach_copy_(gradients, [*downs, *rounded[len(self._wide) :]])
            torch._foreach_mul_(gradients[len(self._downs) :], self._scales)
            for weight in self._weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_([weight.grad for weight in self._weights], gradients)


def _same_input(layers: dict[str, LeanLoraLinear]) -> list[list[LeanLoraLinear]]:
    """Layers by their paths, those together that get the same input."""
    groups: dict[object, list[LeanLoraLinear]] = {}
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        kind = next((kind for kind in SAME_INPUT if name in kind), name)
        groups.setdefault((parent, kind), []).append(layer)
    return list(groups.values())


def small_weights(model: torch.nn.Module, together: bool) -> AsTheyAre:
    """The adapter's weights, rounded `together` if asked for, if there are no others to learn and no layer drops
    inputs of its own (LoRA's dropout).
    """
    layers = {path: module for path, module in model.named_modules() if type(module) is LeanLoraLinear}
    learnt = sum(parameter.requires_grad for parameter in model.parameters())
    dropped = any(isinstance(d, torch.nn.Dropout) for layer in layers.values() for d in layer.lora_dropout.values())
    wide = together and layers and learnt == 2 * len(layers) and not dropped
    return WorkingCopies(layers) if wide else AsTheyAre(layers.values())
