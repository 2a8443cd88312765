"""Compiled layers that give transformers' own bits.

A compiled kernel that does several steps at once rounds less often than transformers' separate kernels, and adds up a
row in another order. One bit that differs in bfloat16 grows through the layers of a 7B model to the distance of two
independent roundings: 5 % of its letters' logits with random weights, twice what another batch size does. So every
step is rounded as if it stood alone, no product is padded (its kernel would be another), the sums of normalisations
are left to the kernels that transformers uses, and layers with GELU by the error function, which the compiler's
kernels compute otherwise (0.6 % of elements), are not compiled. Layers are then transformers' to the bit
(benchmarks/parting.py); what is left is what a batch's size changes too (benchmarks/agreement.py). In learning
normalisations add up in the compiler's kernels, which reads their input once instead of three times: there an
adapter's rounding parts the bits anyway, and gradients were as near with it as without.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from transformers.activations import GELUActivation

AS_SEPARATE = {"emulate_precision_casts": True, "shape_padding": False}  # for torch.compile


@torch.library.custom_op("synesthesia::mean_of_rows", mutates_args=())
def mean_of_rows(values: torch.Tensor) -> torch.Tensor:
    """Mean over the last dimension, which stays as one: (..., n) -> (..., 1)."""
    return values.mean(-1, keepdim=True)


@mean_of_rows.register_fake
def _(values):
    return values.new_empty(*values.shape[:-1], 1)


def _keep_shape(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.shape = inputs[0].shape


def _spread(ctx, gradient: torch.Tensor) -> torch.Tensor:
    return gradient.expand(ctx.shape) / ctx.shape[-1]


mean_of_rows.register_autograd(_spread, setup_context=_keep_shape)


@torch.library.custom_op("synesthesia::layer_norm", mutates_args=())
def layer_norm(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """torch's own over the last dimension, for frozen encoders: no gradient."""
    return F.layer_norm(values, weight.shape, weight, bias, epsilon)


@layer_norm.register_fake
def _(values, weight, bias, epsilon):
    return torch.empty_like(values, memory_format=torch.contiguous_format)


class RootMeanSquareNorm(torch.nn.Module):
    """Mixed into the RMSNorm of a Qwen family or its kin, which all have one form (Qwen2RMSNorm, transformers 5.17)."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        wide = hidden_states.float()
        squares = wide.pow(2)
        mean = squares.mean(-1, keepdim=True) if self.training else mean_of_rows(squares)
        wide = wide * torch.rsqrt(mean + self.variance_epsilon)
        return self.weight * wide.to(hidden_states.dtype)


class FrozenLayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm as one operation that compilation leaves whole."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return layer_norm(values, self.weight, self.bias, self.eps)


@cache
def mixed(own: type[torch.nn.Module], kind: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """One class for all modules of a kind: a function of each module's own would be compiled for each layer anew."""
    return kind if issubclass(kind, own) else type(kind.__name__, (own, kind), {})


def norms_of_their_own(layer: torch.nn.Module) -> None:
    """Let all normalisations in this layer compute so, in place; of LayerNorms those with a bias, all of encoders."""
    for module in layer.modules():
        if type(module) is torch.nn.LayerNorm and module.bias is not None:
            module.__class__ = FrozenLayerNorm
        elif hasattr(module, "variance_epsilon"):
            module.__class__ = mixed(RootMeanSquareNorm, type(module))


def compile_layers(layers: Iterable[torch.nn.Module], **options: object) -> None:
    """Let layers be compiled at their first use, in place, and round as before; `options` of the compiler go on top."""
    for layer in layers:
        if any(isinstance(module, GELUActivation) for module in layer.modules()):
            continue
        norms_of_their_own(layer)
        layer.compile(dynamic=True, options={**AS_SEPARATE, **options})
