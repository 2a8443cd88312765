"""peft's LoRA layer with less around the two small products.

peft keeps an adapter's weights in float32, which the optimizer needs, and then also computes with them in float32: of a
bfloat16 model every layer's input is copied to float32, and its output is added in float32 and rounded back. Here the
small weights are rounded to the model's precision instead, as everywhere in mixed-precision training; gradients reach
the float32 weights. In float32 the numbers are peft's (tests/distillation/test_lean_lora.py).

An adapter on every linear layer of a 7B model has some 450 small weights. Rounding them, and adding up their gradients,
one by one took a thousand kernels of 2 microseconds a step on a GPU; `WorkingCopies` does it for all together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear


class LeanLoraLinear(Linear):
    """y = W x + s B A x, one adapter, nothing merged; otherwise peft's own `forward`."""

    working: list[torch.Tensor] | None = None  # A and s B as WorkingCopies keeps them, for learning

    def forward(self, x: torch.Tensor, *arguments: object, **named: object) -> torch.Tensor:
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        if name not in self.lora_A or self.disable_adapters or self.merged or self.lora_variant or arguments or named:
            return super().forward(x, *arguments, **named)
        if self.working and self.training:
            down, up = self.working
        else:
            down = self.lora_A[name].weight.to(x.dtype)
            up = (self.lora_B[name].weight * self.scaling[name]).to(x.dtype)
        return self.base_layer(x) + F.linear(F.linear(self.lora_dropout[name](x), down), up)


def use_lean_lora(model: torch.nn.Module) -> None:
    """Let every plain LoRA layer of `model` compute as `LeanLoraLinear`."""
    for module in model.modules():
        if type(module) is Linear and not any(module.use_dora.values()):
            module.__class__ = LeanLoraLinear


class AsTheyAre:
    """Small weights that each layer rounds for itself."""

    def renew(self) -> None:
        """Nothing has to be done before a pass."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients to the `grad` of the weights."""
        loss.backward()


class WorkingCopies(AsTheyAre):
    """Small weights of lean layers in the model's precision, rounded and given their gradients together.

    The same numbers as of `AsTheyAre`, bit for bit.
    """

    def __init__(self, layers: list[LeanLoraLinear]) -> None:
        names = [layer.active_adapters[0] for layer in layers]
        self._layers = layers
        self._downs = [layer.lora_A[name].weight for layer, name in zip(layers, names, strict=True)]
        self._ups = [layer.lora_B[name].weight for layer, name in zip(layers, names, strict=True)]
        self._scales = [float(layer.scaling[name]) for layer, name in zip(layers, names, strict=True)]
        self._weights = [*self._downs, *self._ups]
        precision = layers[0].base_layer.weight.dtype
        self._copies = [torch.empty_like(w, dtype=precision, requires_grad=True) for w in self._weights]

    @torch.no_grad()
    def renew(self) -> None:
        """Round the weights as they are now, and let the layers compute with these copies."""
        torch._foreach_copy_(self._copies, [*self._downs, *torch._foreach_mul(self._ups, self._scales)])
        half = len(self._layers)
        for layer, *copies in zip(self._layers, self._copies[:half], self._copies[half:], strict=True):
            layer.working = copies

    def backward(self, loss: torch.Tensor) -> None:
        """Add the loss's gradients, float32, to the `grad` of the weights."""
        rounded = torch.autograd.grad(loss, self._copies, materialize_grads=True)
        with torch.no_grad():
            gradients = [torch.empty_like(weight) for weight in self._weights]
            torch._foreach_copy_(gradients, rounded)
            torch._foreach_mul_(gradients[len(self._downs) :], self._scales)
            for weight in self._weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            torch._foreach_add_([weight.grad for weight in self._weights], gradients)


def small_weights(model: torch.nn.Module, together: bool) -> AsTheyAre:
    """The adapter's weights, rounded `together` if asked for and if there are no others to learn."""
    layers = [module for module in model.modules() if type(module) is LeanLoraLinear]
    learnt = sum(parameter.requires_grad for parameter in model.parameters())
    return WorkingCopies(layers) if together and layers and learnt == 2 * len(layers) else AsTheyAre()
