"""The middle of a gated feed-forward network with its adapters as one kernel there and one back, in learning on a GPU.

silu(y_gate + s B A x) * (y_up + s B A x), each step rounded as alone, and A of the way out of it. As separate kernels
both products with B are written and read again, both sums kept, and on the way back what A brings is written and read,
and the sums' gradients read once more for the products with B: some 650 MB of eight clips by ear, of a layer. Here y is
kept instead of the sums, and nothing is written but the product and the gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.activations import SiLUActivation

from synesthesia.acceleration.lora_linear import LeanLoraLinear
from synesthesia.acceleration.patching import mix_in

RANKS = {16, 32, 64}  # a power of two; higher ones would want more of a GPU's shared memory than some have


def _sums(gate, up, gate_inner, up_inner, gate_b, up_b) -> tuple[torch.Tensor, torch.Tensor]:
    return gate + F.linear(gate_inner, gate_b), up + F.linear(up_inner, up_b)


@torch.library.custom_op("synesthesia::gated_product", mutates_args=())
def gated_product(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_inner: torch.Tensor,
    up_inner: torch.Tensor,
    gate_b: torch.Tensor,
    up_b: torch.Tensor,
    down_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The product, (..., width), and A x of it, (..., rank).

    gate, up: what the frozen layers make, (..., width); the inner ones: A x of each, (..., rank), the same rank; then
    each one's s B, (width, rank), and A of the layer that follows, (rank, width).
    """
    gates, ups = _sums(gate, up, gate_inner, up_inner, gate_b, up_b)
    product = F.silu(gates) * ups
    return product, F.linear(product, down_a)


@gated_product.register_fake
def _outputs(gate, up, gate_inner, *_):
    return gate.new_empty(gate.shape), gate.new_empty(gate_inner.shape)


@gated_product.register_kernel("cuda")
def _on_gpu(gate, up, gate_inner, up_inner, gate_b, up_b, down_a):
    from synesthesia.acceleration.kernels import lora_swiglu_triton  # triton is there where torch has a GPU

    product = gate.new_empty(gate.shape)
    inner = in_rows(gate_inner), in_rows(up_inner)
    lora_swiglu_triton.launch(gate.contiguous(), up.contiguous(), *inner, gate_b, up_b, product)
    return product, F.linear(product, down_a)


@torch.library.custom_op("synesthesia::gated_gradients", mutates_args=())
def gated_gradients(
    coming: torch.Tensor,
    coming_inner: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_inner: torch.Tensor,
    up_inner: torch.Tensor,
    gate_b: torch.Tensor,
    up_b: torch.Tensor,
    down_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of gate and up, (..., width), and of both inner parts beside each other, (..., 2 rank).

    coming, coming_inner: gradients of the product and of A x of it; the rest as of gated_product.
    """
    gates, ups = _sums(gate, up, gate_inner, up_inner, gate_b, up_b)
    whole = coming + coming_inner @ down_a
    of_gate, of_up = torch.ops.aten.silu_backward(whole * ups, gates), whole * F.silu(gates)
    return of_gate, of_up, torch.cat([of_gate @ gate_b, of_up @ up_b], -1)


@gated_gradients.register_fake
def _gradients(coming, coming_inner, gate, up, gate_inner, *_):
    inner = gate.new_empty(*gate.shape[:-1], 2 * gate_inner.shape[-1])
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape), inner


@gated_gradients.register_kernel("cuda")
def _back_on_gpu(coming, coming_inner, gate, up, gate_inner, up_inner, gate_b, up_b, down_a):
    from synesthesia.acceleration.kernels import lora_swiglu_triton

    of_gate, of_up = gate.new_empty(gate.shape), gate.new_empty(gate.shape)
    wide = [part.contiguous() for part in (coming, gate, up)]
    inner = [in_rows(part) for part in (coming_inner, gate_inner, up_inner)]
    made = lora_swiglu_triton.launch_back(*wide, *inner, down_a, gate_b, up_b, of_gate, of_up)
    return of_gate, of_up, made.view(*gate.shape[:-1], -1).to(gate.dtype)


def in_rows(inner: torch.Tensor) -> torch.Tensor:
    """(..., rank) as (rows, rank), whose rows may lie apart but are whole: a copy only where they are not."""
    flat = inner.flatten(0, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def _keep(ctx, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[0])


def _backward(ctx, coming: torch.Tensor, coming_inner: torch.Tensor) -> tuple[torch.Tensor, ...]:
    *inputs, product = ctx.saved_tensors
    gate, up, inner = gated_gradients(coming, coming_inner, *inputs)
    pairs = (gate, inputs[2]), (up, inputs[3]), (coming_inner, product)
    learnt = (sums.flatten(0, -2).T @ of.flatten(0, -2) for sums, of in pairs)
    return gate, up, *inner.chunk(2, -1), *learnt


gated_product.register_autograd(_backward, setup_context=_keep)


def helps(*layers: LeanLoraLinear) -> bool:
    """Whether the kernels can do these layers (gate, up and down) as they learn now."""
    ranks = set()
    for layer in layers:
        name = layer.alone()
        if name is None or not layer.working or layer.random:
            return False
        ranks.add(layer.r[name])
    return len(ranks) == 1 and ranks <= RANKS


class GatedFeedForward(torch.nn.Module):
    """Mixed into a gated feed-forward network with `act_fn` SiLU (all families' decoders, transformers 5.17)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up, down = self.gate_proj, self.up_proj, self.down_proj
        if not (self.training and helps(gate, up, down)):
            return super().forward(x)
        layers = gate, up
        product, inner = gated_product(
            *(layer.base_layer(x) for layer in layers),
            *(layer.working.down(x) for layer in layers),
            *(layer.working.up for layer in layers),
            down.working.a,
        )
        return down.base_layer(product) + F.linear(inner, down.working.up)


def use_gated_product(decoder: torch.nn.Module) -> None:
    """Let feed-forward networks whose three layers are lean ones compute so in learning, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        layers = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        if all(type(one) is LeanLoraLinear for one in layers) and isinstance(mlp.act_fn, SiLUActivation):
            mix_in(GatedFeedForward, mlp)
