"""The middle of a gated feed-forward network with its adapters as one kernel, in learning on a GPU.

silu(y_gate + s B A x) * (y_up + s B A x), each step rounded as alone. As separate kernels both products with B are
written and read again: 130 MB each way of eight clips by ear, of a layer. The way back stays the compiler's, which
needs both sums; they are written too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.activations import SiLUActivation

from synesthesia.distillation.lean_lora import LeanLoraLinear
from synesthesia.distillation.wide_layers import WideLayer, gradients
from synesthesia.models.rounding import mixed


@torch.library.custom_op("synesthesia::gated_product", mutates_args=())
def gated_product(
    made: torch.Tensor, inner: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The product, (..., width), and both sums.

    made: what the two frozen layers make, (..., 2 width); inner: A x of both, (..., 2 rank); gate, up: each one's s B,
    (width, rank).
    """
    pairs = zip(made.chunk(2, -1), inner.chunk(2, -1), (gate, up), strict=True)
    gates, ups = (y + F.linear(part, b) for y, part, b in pairs)
    return F.silu(gates) * ups, gates, ups


@gated_product.register_fake
def _outputs(made, inner, gate, up):
    return tuple(made.new_empty(*made.shape[:-1], len(gate)) for _ in range(3))


@gated_product.register_kernel("cuda")
def _on_gpu(made, inner, gate, up):
    from synesthesia.distillation import gated_kernel  # triton is there where torch has a GPU

    outs = _outputs(made, inner, gate, up)
    gated_kernel.launch(made.contiguous(), inner.contiguous(), gate, up, *outs)
    return outs


class _Gated(torch.autograd.Function):
    """The product of a wide layer of gate and up (see wide_layers), whose gradients it takes."""

    @staticmethod
    def forward(ctx, x, down, weight, outs, ranks, *ups):
        inner = F.linear(x, down)
        product, gates, wides = gated_product(F.linear(x, weight), inner, *ups)
        ctx.save_for_backward(x, inner, down, weight, *ups, gates, wides)
        ctx.outs, ctx.ranks = outs, ranks
        return product

    @staticmethod
    def backward(ctx, coming):
        *kept, gates, ups = ctx.saved_tensors
        coming = torch.ops.aten.silu_backward(coming * ups, gates), coming * F.silu(gates)
        outer, down, *learnt = gradients(coming, ctx.needs_input_grad[0], ctx.outs, ctx.ranks, *kept)
        return outer, down, None, None, None, *learnt


def helps(wide: WideLayer) -> bool:
    """Whether the kernel can do this layer of gate and up."""
    rank, *others = wide.ranks
    return wide.bias is None and others == [rank] and rank >= 16 and not rank & (rank - 1)


class GatedFeedForward(torch.nn.Module):
    """Mixed into a gated feed-forward network with `act_fn` SiLU (all families' decoders, transformers 5.17)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.gate_proj
        if not (self.training and gate.learns_wide and helps(gate.wide.layer)):
            return super().forward(x)
        wide = gate.wide.layer
        return self.down_proj(_Gated.apply(x, wide.down, wide.weight, wide.outs, wide.ranks, *wide.ups))


def use_gated_product(decoder: torch.nn.Module) -> None:
    """Let feed-forward networks whose gate and up are lean layers compute so in learning, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        if type(mlp.gate_proj) is type(mlp.up_proj) is LeanLoraLinear and isinstance(mlp.act_fn, SiLUActivation):
            mlp.__class__ = mixed(GatedFeedForward, type(mlp))
