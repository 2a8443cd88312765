"""Norms as operations that compilation leaves whole and that give transformers' own bits.

The compiler would add up a row in another order than torch's kernels do. RMSNorm in torch is three passes over its
input; on a GPU one Triton kernel that adds up in torch's order takes one (`rms_norm_triton`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from synesthesia.acceleration.patching import patch_class


def _reference(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalize over the last dimension in transformers' steps.

    Returns the normalized input (..., width), and 1 / rms of each row, float32 (..., 1), which has no gradient.
    """
    x_float = x.contiguous().float()
    rstd = torch.rsqrt(x_float.pow(2).mean(-1, keepdim=True) + eps)
    return weight * (x_float * rstd).to(x.dtype), rstd


rms_norm = torch.library.custom_op("synesthesia::root_mean_square_norm", _reference, mutates_args=())


@rms_norm.register_fake
def _empty_outputs(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = torch.promote_types(x.dtype, weight.dtype)
    out = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    return out, x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)


@rms_norm.register_kernel("cuda")
def _cuda(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    from synesthesia.acceleration.kernels import rms_norm_triton  # triton is installed where torch has a GPU

    if not rms_norm_triton.is_supported(x, weight):
        return _reference(x, weight, eps)
    outputs = _empty_outputs(x, weight, eps)
    rms_norm_triton.launch(x, weight, eps, *outputs)
    return outputs


def _setup_context(ctx: Any, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_output: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Compute in float32 between the roundings of transformers' steps."""
    x, weight, rstd = ctx.saved_tensors
    x_float = x.float()
    grad_normed = (grad_output * weight).to(x.dtype).float()
    grad_mean = (grad_normed * x_float).sum(-1, keepdim=True) * -0.5 * rstd.pow(3)
    grad_x = (grad_normed * rstd + grad_mean / x.shape[-1] * (2 * x_float)).to(x.dtype)
    if not ctx.needs_input_grad[1]:
        return grad_x, None, None
    return grad_x, (grad_output * (x_float * rstd).to(x.dtype)).flatten(0, -2).sum(0).to(weight.dtype), None


rms_norm.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("synesthesia::layer_norm", mutates_args=())
def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """Compute torch's LayerNorm over the last dimension, for frozen encoders: no gradient.

    Args:
        x: (..., width).
        weight: (width,).
        bias: (width,).
        eps: Added to the variance.

    Returns:
        The normalized input, (..., width).
    """
    return F.layer_norm(x, weight.shape, weight, bias, eps)


@layer_norm.register_fake
def _layer_norm_fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


class FusedRMSNorm(torch.nn.Module):
    """Mixin of the RMSNorm of Qwen families and their kin, all of one form (Qwen2RMSNorm, transformers 5.17)."""

    weight: torch.Tensor
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return rms_norm(hidden_states, self.weight, self.variance_epsilon)[0]


class FrozenLayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm as one operation that compilation leaves whole."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return layer_norm(x, self.weight, self.bias, self.eps)


def patch_norms(layer: torch.nn.Module) -> None:
    """Patch every RMSNorm, and every LayerNorm with bias (encoders), of a layer in place."""
    for module in layer.modules():
        if type(module) is torch.nn.LayerNorm and module.bias is not None:
            module.__class__ = FrozenLayerNorm
        elif hasattr(module, "variance_epsilon"):
            patch_class(FusedRMSNorm, module)
