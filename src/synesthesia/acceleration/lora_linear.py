"""peft's LoRA linear layer without the float32 casts around A and B.

peft keeps an adapter's weights in float32, which the optimizer needs, and also computes with them in float32: with a
bfloat16 model every layer's input is copied to float32, and its output is added in float32 and rounded back. Here the
adapter's weights are rounded to the model's dtype instead, as everywhere in mixed-precision training; gradients reach
the float32 weights. In float32 the numbers are peft's (tests/unit/acceleration/test_lora_linear.py).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear


class LoraCompute(Protocol):
    """An adapter's weights in the compute dtype, rounded elsewhere (see `lora_grouped`)."""

    scaled_lora_b: torch.Tensor  # s B

    @property
    def lora_a(self) -> torch.Tensor:
        """A, (rank, width)."""
        ...

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Compute A x."""
        ...


class MixedPrecisionLoraLinear(Linear):
    """y = W x + s B A x with one adapter that is not merged; otherwise peft's own `forward`."""

    compute_weights: LoraCompute | None

    def single_adapter_name(self) -> str | None:
        """Return the name of the one active adapter, or None where peft has more to do than to add it."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        more = name is None or name not in self.lora_A or self.disable_adapters or self.merged or self.lora_variant
        return None if more else name

    @property
    def has_dropout(self) -> bool:
        """Whether the adapter drops some of its input."""
        return isinstance(self.lora_dropout[self.active_adapters[0]], torch.nn.Dropout)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: D102
        name = self.single_adapter_name()
        if name is None or args or kwargs:
            return super().forward(x, *args, **kwargs)
        layer: Any = self
        if self.compute_weights and self.training:
            base = layer.base_layer(x)  # before A x: the order in which gradients towards x add up decides their bits
            hidden = self.compute_weights.project(layer.lora_dropout[name](x))
            return base + F.linear(hidden, self.compute_weights.scaled_lora_b)
        lora_a = layer.lora_A[name].weight.to(x.dtype)
        lora_b = (layer.lora_B[name].weight * layer.scaling[name]).to(x.dtype)
        return layer.base_layer(x) + F.linear(F.linear(layer.lora_dropout[name](x), lora_a), lora_b)


MixedPrecisionLoraLinear.compute_weights = None


def patch_lora_layers(model: torch.nn.Module) -> None:
    """Turn every plain LoRA linear layer of a model into a `MixedPrecisionLoraLinear`, in place."""
    for module in model.modules():
        if type(module) is Linear and not any(module.use_dora.values()):
            module.__class__ = MixedPrecisionLoraLinear
