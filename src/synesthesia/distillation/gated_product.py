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
from synesthesia.models.mixing import mix_in

RANKS = {16, 32, 64}  # a power of two; higher ones would want more of a GPU's shared memory than some have


@torch.library.custom_op("synesthesia::gated_product", mutates_args=())
def gated_product(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_inner: torch.Tensor,
    up_inner: torch.Tensor,
    gate_b: torch.Tensor,
    up_b: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The product, (..., width), and both sums, which have no gradient.

    gate, up: what the frozen layers make, (..., width); the inner ones: A x of each, (..., rank), the same rank; the
    last two: each one's s B, (width, rank).
    """
    gates, ups = gate + F.linear(gate_inner, gate_b), up + F.linear(up_inner, up_b)
    return F.silu(gates) * ups, gates, ups


@gated_product.register_fake
def _outputs(gate, *_):
    return tuple(gate.new_empty(gate.shape) for _ in range(3))


@gated_product.register_kernel("cuda")
def _on_gpu(gate, up, gate_inner, up_inner, gate_b, up_b):
    from synesthesia.distillation import gated_kernel  # triton is there where torch has a GPU

    outs = _outputs(gate)
    gated_kernel.launch(gate.contiguous(), up.contiguous(), in_rows(gate_inner), in_rows(up_inner), gate_b, up_b, *outs)
    return outs


def in_rows(inner: torch.Tensor) -> torch.Tensor:
    """(..., rank) as (rows, rank), whose rows may lie apart but are whole: a copy only where they are not."""
    flat = inner.flatten(0, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def _keep(ctx, inputs: tuple, output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[2:], *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx, coming: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
    gate_inner, up_inner, gate_b, up_b, gates, ups = ctx.saved_tensors
    gate, up = torch.ops.aten.silu_backward(coming * ups, gates), coming * F.silu(gates)
    learnt = (sums.flatten(0, -2).T @ inner.flatten(0, -2) for sums, inner in ((gate, gate_inner), (up, up_inner)))
    return gate, up, gate @ gate_b, up @ up_b, *learnt


gated_product.register_autograd(_backward, setup_context=_keep)


def helps(gate: LeanLoraLinear, up: LeanLoraLinear) -> bool:
    """Whether the kernel can do these two as they learn now."""
    ranks = set()
    for layer in (gate, up):
        name = layer.alone()
        if name is None or not layer.working:
            return False
        ranks.add(layer.r[name])
    return len(ranks) == 1 and ranks <= RANKS


class GatedFeedForward(torch.nn.Module):
    """Mixed into a gated feed-forward network with `act_fn` SiLU (all families' decoders, transformers 5.17)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_proj, self.up_proj
        if not (self.training and helps(gate, up)):
            return super().forward(x)
        layers = (gate, up)
        product, *_ = gated_product(
            *(layer.base_layer(x) for layer in layers),
            *(layer.inner(x) for layer in layers),
            *(layer.working.up for layer in layers),
        )
        return self.down_proj(product)


def use_gated_product(decoder: torch.nn.Module) -> None:
    """Let feed-forward networks whose gate and up are lean layers compute so in learning, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        if type(mlp.gate_proj) is type(mlp.up_proj) is LeanLoraLinear and isinstance(mlp.act_fn, SiLUActivation):
            mix_in(GatedFeedForward, mlp)
