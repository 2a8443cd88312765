"""Normalisations as operations that compilation leaves whole and that give transformers' own bits.

The compiler would add up a row in another order than torch's kernels do. One of a Qwen family is three passes of
torch's over its input; on a GPU a kernel that adds up as they do takes one (see norm_kernel).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from synesthesia.acceleration.patching import patch_class


def _reference(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised over the last dimension in transformers' steps, (..., n); and what each row was multiplied by before
    its weight, float32 (..., 1), which has no gradient.
    """
    wide = x.contiguous().float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype), scale


rms_norm = torch.library.custom_op("synesthesia::root_mean_square_norm", _reference, mutates_args=())


@rms_norm.register_fake
def _empty_outputs(x, weight, eps):
    kind = torch.promote_types(x.dtype, weight.dtype)
    out = torch.empty_like(x, dtype=kind, memory_format=torch.contiguous_format)
    return out, x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)


@rms_norm.register_kernel("cuda")
def _cuda(x, weight, eps):
    from synesthesia.acceleration.kernels import rms_norm_triton  # triton is there where torch has a GPU

    if not rms_norm_triton.is_supported(x, weight):
        return _reference(x, weight, eps)
    outs = _empty_outputs(x, weight, eps)
    rms_norm_triton.launch(x, weight, eps, *outs)
    return outs


def _setup_context(ctx, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    values, weight, _ = inputs
    ctx.save_for_backward(values, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_output: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """In float32 between the roundings of transformers' steps."""
    values, weight, scale = ctx.saved_tensors
    wide = values.float()
    normed = (grad_output * weight).to(values.dtype).float()
    of_mean = (normed * wide).sum(-1, keepdim=True) * -0.5 * scale.pow(3)
    of_values = (normed * scale + of_mean / values.shape[-1] * (2 * wide)).to(values.dtype)
    if not ctx.needs_input_grad[1]:
        return of_values, None, None
    return of_values, (grad_output * (wide * scale).to(values.dtype)).flatten(0, -2).sum(0).to(weight.dtype), None


rms_norm.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("synesthesia::layer_norm", mutates_args=())
def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """Torch's own over the last dimension, for frozen encoders: no gradient."""
    return F.layer_norm(x, weight.shape, weight, bias, eps)


@layer_norm.register_fake
def _(values, weight, bias, epsilon):
    return torch.empty_like(values, memory_format=torch.contiguous_format)


class FusedRMSNorm(torch.nn.Module):
    """Mixed into the RMSNorm of a Qwen family or its kin, which all have one form (Qwen2RMSNorm, transformers 5.17)."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return rms_norm(hidden_states, self.weight, self.variance_epsilon)[0]


class FrozenLayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm as one operation that compilation leaves whole."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


def patch_norms(layer: torch.nn.Module) -> None:
    """Let all normalisations in this layer compute so, in place; of LayerNorms those with a bias, all of encoders."""
    for module in layer.modules():
        if type(module) is torch.nn.LayerNorm and module.bias is not None:
            module.__class__ = FrozenLayerNorm
        elif hasattr(module, "variance_epsilon"):
            patch_class(FusedRMSNorm, module)
