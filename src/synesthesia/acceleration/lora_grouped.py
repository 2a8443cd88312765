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

from synesthesia.acceleration.lora_linear import LeanLoraLinear

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # in the layers of all families' decoders


class AsTheyAre:
    """Small weights that each layer rounds for itself."""

    def renew(self) -> None:
        """Nothing has to be done before a pass."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients to the `grad` of the weights."""
        loss.backward()


class Down:
    """The A of layers that get one and the same input, below each other: one product for all of them."""

    def __init__(self, weights: list[torch.Tensor], precision: torch.dtype) -> None:
        ranks = [len(weight) for weight in weights]
        self.weight = torch.empty(
            sum(ranks), weights[0].shape[1], dtype=precision, device=weights[0].device, requires_grad=True
        )
        self.parts = self.weight.detach().split(ranks)  # where the layers' own are rounded to
        self.ranks, self._wanted = ranks, 0
        self._input: torch.Tensor | None = None
        self._made: tuple[torch.Tensor, ...] = ()

    def of(self, x: torch.Tensor, place: int) -> torch.Tensor:
        """A x of the layer at this place: computed for all when the first of them comes, forgotten after the last."""
        if self._input is not x:
            self._input, self._made, self._wanted = x, F.linear(x, self.weight).split(self.ranks, -1), len(self.ranks)
        made = self._made[place]
        self._wanted -= 1
        if not self._wanted:
            self._input, self._made = None, ()
        return made


@dataclass
class Copies:
    """What a layer learns with (lean_lora.Working): its part of a `Down`, and s B."""

    shared: Down
    place: int
    up: torch.Tensor

    @property
    def a(self) -> torch.Tensor:
        return self.shared.weight.split(self.shared.ranks)[self.place]

    def down(self, x: torch.Tensor) -> torch.Tensor:
        return self.shared.of(x, self.place)


class WorkingCopies(AsTheyAre):
    """Small weights of lean layers in the model's precision, rounded and given their gradients together.

    The numbers of `AsTheyAre`, but that gradients towards a shared input are added up before they are rounded.
    """

    def __init__(self, layers: dict[str, LeanLoraLinear]) -> None:
        precision = next(iter(layers.values())).base_layer.weight.dtype
        self._downs: list[torch.nn.Parameter] = []
        self._ups: list[torch.nn.Parameter] = []
        self._scales: list[float] = []
        self._shared: list[Down] = []
        self._layers: list[LeanLoraLinear] = []
        self._working: list[Copies] = []
        for group in _same_input(layers):
            names = [layer.active_adapters[0] for layer in group]
            downs = [layer.lora_A[name].weight for layer, name in zip(group, names, strict=True)]
            ups = [layer.lora_B[name].weight for layer, name in zip(group, names, strict=True)]
            shared = Down(downs, precision)
            self._working += [
                Copies(shared, place, torch.empty_like(up, dtype=precision, requires_grad=True))
                for place, up in enumerate(ups)
            ]
            self._shared.append(shared)
            self._downs += downs
            self._ups += ups
            self._scales += [float(layer.scaling[name]) for layer, name in zip(group, names, strict=True)]
            self._layers += group
        self._weights = [*self._downs, *self._ups]

    @torch.no_grad()
    def renew(self) -> None:
        """Round the weights as they are now, and let the layers compute with these copies."""
        copies = [part for shared in self._shared for part in shared.parts] + [w.up for w in self._working]
        torch._foreach_copy_(copies, [*self._downs, *torch._foreach_mul(self._ups, self._scales)])
        for layer, working in zip(self._layers, self._working, strict=True):
            layer.working = working

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients, float32, to the `grad` of the weights."""
        copies = [shared.weight for shared in self._shared] + [working.up for working in self._working]
        rounded = torch.autograd.grad(loss, copies, materialize_grads=True)
        downs = [
            part
            for shared, made in zip(self._shared, rounded[: len(self._shared)], strict=True)
            for part in made.split(shared.ranks)
        ]
        with torch.no_grad():
            gradients = [torch.empty_like(weight) for weight in self._weights]
            torch._foreach_copy_(gradients, [*downs, *rounded[len(self._shared) :]])
            torch._foreach_mul_(gradients[len(self._downs) :], self._scales)
            for weight in self._weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_([weight.grad for weight in self._weights], gradients)


def _same_input(layers: dict[str, LeanLoraLinear]) -> list[list[LeanLoraLinear]]:
    """Layers by their paths, those together that get the same input: without dropout, which is each one's own."""
    groups: dict[object, list[LeanLoraLinear]] = {}
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        kind = next((kind for kind in SAME_INPUT if name in kind), name)
        groups.setdefault(path if layer.random else (parent, kind), []).append(layer)
    return list(groups.values())


def small_weights(model: torch.nn.Module, together: bool) -> AsTheyAre:
    """The adapter's weights, rounded `together` if asked for and if there are no others to learn."""
    layers = {path: module for path, module in model.named_modules() if type(module) is LeanLoraLinear}
    learnt = sum(parameter.requires_grad for parameter in model.parameters())
    return WorkingCopies(layers) if together and layers and learnt == 2 * len(layers) else AsTheyAre()
