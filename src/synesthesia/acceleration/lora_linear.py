"""peft's LoRA layer with less around the two small products.

peft keeps an adapter's weights in float32, which the optimizer needs, and then also computes with them in float32: of a
bfloat16 model every layer's input is copied to float32, and its output is added in float32 and rounded back. Here the
small weights are rounded to the model's precision instead, as everywhere in mixed-precision training; gradients reach
the float32 weights. In float32 the numbers are peft's (tests/unit/acceleration/test_lora_linear.py).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear


class Working(Protocol):
    """Small weights that somebody else rounds, for learning (see small_weights)."""

    a: torch.Tensor  # A
    up: torch.Tensor  # s B

    def down(self, x: torch.Tensor) -> torch.Tensor:
        """A x."""


class LeanLoraLinear(Linear):
    """y = W x + s B A x, one adapter, nothing merged; otherwise peft's own `forward`."""

    working: Working | None = None

    def alone(self) -> str | None:
        """The name of the one adapter that y has; None where peft has more to do than to add it."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        more = name not in self.lora_A or self.disable_adapters or self.merged or self.lora_variant
        return None if more else name

    @property
    def random(self) -> bool:
        """Whether its adapter drops some of the input."""
        return isinstance(self.lora_dropout[self.active_adapters[0]], torch.nn.Dropout)

    def forward(self, x: torch.Tensor, *arguments: object, **named: object) -> torch.Tensor:
        name = self.alone()
        if name is None or arguments or named:
            return super().forward(x, *arguments, **named)
        if self.working and self.training:
            return self.base_layer(x) + F.linear(self.working.down(self.lora_dropout[name](x)), self.working.up)
        down = self.lora_A[name].weight.to(x.dtype)
        up = (self.lora_B[name].weight * self.scaling[name]).to(x.dtype)
        return self.base_layer(x) + F.linear(F.linear(self.lora_dropout[name](x), down), up)


def use_lean_lora(model: torch.nn.Module) -> None:
    """Let every plain LoRA layer of `model` compute as `LeanLoraLinear`."""
    for module in model.modules():
        if type(module) is Linear and not any(module.use_dora.values()):
            module.__class__ = LeanLoraLinear
