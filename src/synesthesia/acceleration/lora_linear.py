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


class LoraCompute(Protocol):
    """Small weights that somebody else rounds, for learning (see small_weights)."""

    lora_a: torch.Tensor  # A
    scaled_lora_b: torch.Tensor  # s B

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """A x."""


class MixedPrecisionLoraLinear(Linear):
    """y = W x + s B A x, one adapter, nothing merged; otherwise peft's own `forward`."""

    compute_weights: LoraCompute | None = None

    def single_adapter_name(self) -> str | None:
        """The name of the one adapter that y has; None where peft has more to do than to add it."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        more = name not in self.lora_A or self.disable_adapters or self.merged or self.lora_variant
        return None if more else name

    @property
    def has_dropout(self) -> bool:
        """Whether its adapter drops some of the input."""
        return isinstance(self.lora_dropout[self.active_adapters[0]], torch.nn.Dropout)

    def forward(self, x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        name = self.single_adapter_name()
        if name is None or args or kwargs:
            return super().forward(x, *args, **kwargs)
        if self.compute_weights and self.training:
            return self.base_layer(x) + F.linear(
                self.compute_weights.project(self.lora_dropout[name](x)), self.compute_weights.scaled_lora_b
            )
        down = self.lora_A[name].weight.to(x.dtype)
        up = (self.lora_B[name].weight * self.scaling[name]).to(x.dtype)
        return self.base_layer(x) + F.linear(F.linear(self.lora_dropout[name](x), down), up)


def patch_lora_layers(model: torch.nn.Module) -> None:
    """Let every plain LoRA layer of `model` compute as `LeanLoraLinear`."""
    for module in model.modules():
        if type(module) is Linear and not any(module.use_dora.values()):
            module.__class__ = MixedPrecisionLoraLinear
