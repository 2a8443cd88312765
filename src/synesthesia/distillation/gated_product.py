"""The middle of a gated feed-forward network with its adapters as one kernel there and one back, in learning on a GPU.

silu(y_gate + s B A x) * (y_up + s B A x), each step rounded as alone. As separate kernels both products with B are
written and read again, both sums kept, and the sums' gradients read once more for the products with B on the way back:
65 MB each of eight clips by ear, of a layer. Here y is kept instead of the sums, and nothing is written but the product
and the gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.activations import SiLUActivation

from synesthesia.distillation.lean_lora import LeanLoraLinear
from synesthesia.models.rounding import mixed

RANKS = (16, 32, 64)  # a power of two; higher ones would want more of a GPU's shared memory than some have


Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@torch.library.custom_op("synesthesia::gated_product", mutates_args=())
def gated_product(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_inner: torch.Tensor,
    up_inner: torch.Tensor,
    gate_b: torch.Tensor,
    up_b: torch.Tensor,
) -> torch.Tensor:
    """The product, (..., width).

    gate, up: what the frozen layers make, (..., width); the inner ones: A x of each, (..., rank), the same rank; the
    last two: each one's s B, (width, rank).
    """
    gates, ups = gate + F.linear(gate_inner, gate_b), up + F.linear(up_inner, up_b)
    return F.silu(gates) * ups


@gated_product.register_fake
def _product(gate, *_):
    return gate.new_empty(gate.shape)


@gated_product.register_kernel("cuda")
def _on_gpu(*parts):
    from synesthesia.distillation import gated_kernel  # triton is there where torch has a GPU

    product = _product(*parts)
    gated_kernel.launch(*_in_rows(*parts), product)
    return product


@torch.library.custom_op("synesthesia::gated_gradients", mutates_args=())
def gated_gradients(
    coming: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_inner: torch.Tensor,
    up_inner: torch.Tensor,
    gate_b: torch.Tensor,
    up_b: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of gate and up, (..., width), and of both inner parts beside each other, (..., 2 rank)."""
    gates, ups = gate + F.linear(gate_inner, gate_b), up + F.linear(up_inner, up_b)
    of_gate, of_up = torch.ops.aten.silu_backward(coming * ups, gates), coming * F.silu(gates)
    return of_gate, of_up, torch.cat([of_gate @ gate_b, of_up @ up_b], -1)


@gated_gradients.register_fake
def _gradients(coming, gate, up, gate_inner, *_):
    inner = gate.new_empty(*gate.shape[:-1], 2 * gate_inner.shape[-1])
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape), inner


@gated_gradients.register_kernel("cuda")
def _back_on_gpu(coming, *parts):
    from synesthesia.distillation import gated_kernel

    of_gate, of_up, inner = _gradients(coming, *parts)
    made = gated_kernel.launch_back(coming.contiguous(), *_in_rows(*parts), of_gate, of_up)
    return of_gate, of_up, inner.copy_(made.view(inner.shape))


def _in_rows(gate, up, gate_inner, up_inner, gate_b, up_b) -> Parts:
    """As the kernels take them."""
    return gate.contiguous(), up.contiguous(), in_rows(gate_inner), in_rows(up_inner), gate_b, up_b


def in_rows(inner: torch.Tensor) -> torch.Tensor:
    """(..., rank) as (rows, rank), whose rows may lie apart but are whole: a copy only where they are not."""
    flat = inner.flatten(0, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def _keep(ctx, inputs: tuple, output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, coming: torch.Tensor) -> Parts:
    _, _, gate_inner, up_inner, _, _ = ctx.saved_tensors
    gate, up, inner = gated_gradients(coming, *ctx.saved_tensors)
    learnt = (sums.flatten(0, -2).T @ part.flatten(0, -2) for sums, part in ((gate, gate_inner), (up, up_inner)))
    return gate, up, *inner.chunk(2, -1), *learnt


gated_product.register_autograd(_backward, setup_context=_keep)


def helps(gate: LeanLoraLinear, up: LeanLoraLinear) -> bool:
    """Whether the kernel can do these two."""
    ranks = [layer.r.get(name, 0) for layer in (gate, up) for name in layer.active_adapters]
    return len(ranks) == 2 and ranks[0] == ranks[1] and ranks[0] in RANKS


class GatedFeedForward(torch.nn.Module):
    """Mixed into a gated feed-forward network with `act_fn` SiLU (all families' decoders, transformers 5.17)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_proj, self.up_proj
        if not (self.training and gate.working and up.working and helps(gate, up)):
            return super().forward(x)
        layers = (gate, up)
        product = gated_product(
            *(layer.base_layer(x) for layer in layers),
            *(layer.working.down(x) for layer in layers),
            *(layer.working.up for layer in layers),
        )
        return self.down_proj(product)


def use_gated_product(decoder: torch.nn.Module) -> None:
    """Let feed-forward networks whose gate and up are lean layers compute so in learning, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        if type(mlp.gate_proj) is type(mlp.up_proj) is LeanLoraLinear and isinstance(mlp.act_fn, SiLUActivation):
            mlp.__class__ = mixed(GatedFeedForward, type(mlp))
