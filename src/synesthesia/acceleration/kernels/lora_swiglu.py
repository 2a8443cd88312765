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

from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear
from synesthesia.acceleration.patching import patch_class

SUPPORTED_RANKS = {16, 32, 64}  # a power of two; higher ones would want more of a GPU's shared memory than some have


def _add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b) -> tuple[torch.Tensor, torch.Tensor]:
    return gate + F.linear(gate_lora_hidden, gate_lora_b), up + F.linear(up_lora_hidden, up_lora_b)


@torch.library.custom_op("synesthesia::gated_product", mutates_args=())
def lora_swiglu(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    down_lora_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The product, (..., width), and A x of it, (..., rank).

    gate, up: what the frozen layers make, (..., width); the inner ones: A x of each, (..., rank), the same rank; then
    each one's s B, (width, rank), and A of the layer that follows, (rank, width).
    """
    gates, ups = _add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b)
    product = F.silu(gates) * ups
    return product, F.linear(product, down_lora_a)


@lora_swiglu.register_fake
def _fake(gate, up, gate_lora_hidden, *_):
    return gate.new_empty(gate.shape), gate.new_empty(gate_lora_hidden.shape)


@lora_swiglu.register_kernel("cuda")
def _forward_cuda(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b, down_lora_a):
    from synesthesia.acceleration.kernels import lora_swiglu_triton  # triton is there where torch has a GPU

    product = gate.new_empty(gate.shape)
    inner = as_2d(gate_lora_hidden), as_2d(up_lora_hidden)
    lora_swiglu_triton.launch_forward(gate.contiguous(), up.contiguous(), *inner, gate_lora_b, up_lora_b, product)
    return product, F.linear(product, down_lora_a)


@torch.library.custom_op("synesthesia::gated_gradients", mutates_args=())
def lora_swiglu_backward(
    grad_product: torch.Tensor,
    grad_down_lora_hidden: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    down_lora_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of gate and up, (..., width), and of both inner parts beside each other, (..., 2 rank).

    coming, coming_inner: gradients of the product and of A x of it; the rest as of gated_product.
    """
    gates, ups = _add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b)
    whole = grad_product + grad_down_lora_hidden @ down_lora_a
    of_gate, of_up = torch.ops.aten.silu_backward(whole * ups, gates), whole * F.silu(gates)
    return of_gate, of_up, torch.cat([of_gate @ gate_lora_b, of_up @ up_lora_b], -1)


@lora_swiglu_backward.register_fake
def _fake_backward(grad_product, grad_down_lora_hidden, gate, up, gate_lora_hidden, *_):
    inner = gate.new_empty(*gate.shape[:-1], 2 * gate_lora_hidden.shape[-1])
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape), inner


@lora_swiglu_backward.register_kernel("cuda")
def _backward_cuda(
    grad_product, grad_down_lora_hidden, gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b, down_lora_a
):
    from synesthesia.acceleration.kernels import lora_swiglu_triton

    of_gate, of_up = gate.new_empty(gate.shape), gate.new_empty(gate.shape)
    wide = [part.contiguous() for part in (grad_product, gate, up)]
    inner = [as_2d(part) for part in (grad_down_lora_hidden, gate_lora_hidden, up_lora_hidden)]
    made = lora_swiglu_triton.launch_backward(*wide, *inner, down_lora_a, gate_lora_b, up_lora_b, of_gate, of_up)
    return of_gate, of_up, made.view(*gate.shape[:-1], -1).to(gate.dtype)


def as_2d(lora_hidden: torch.Tensor) -> torch.Tensor:
    """(..., rank) as (rows, rank), whose rows may lie apart but are whole: a copy only where they are not."""
    flat = lora_hidden.flatten(0, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def _setup_context(ctx, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[0])


def _backward(ctx, grad_product: torch.Tensor, grad_down_lora_hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    *inputs, product = ctx.saved_tensors
    gate, up, inner = lora_swiglu_backward(grad_product, grad_down_lora_hidden, *inputs)
    pairs = (gate, inputs[2]), (up, inputs[3]), (grad_down_lora_hidden, product)
    learnt = (sums.flatten(0, -2).T @ of.flatten(0, -2) for sums, of in pairs)
    return gate, up, *inner.chunk(2, -1), *learnt


lora_swiglu.register_autograd(_backward, setup_context=_setup_context)


def is_supported(*layers: MixedPrecisionLoraLinear) -> bool:
    """Whether the kernels can do these layers (gate, up and down) as they learn now."""
    ranks = set()
    for layer in layers:
        name = layer.single_adapter_name()
        if name is None or not layer.compute_weights or layer.has_dropout:
            return False
        ranks.add(layer.r[name])
    return len(ranks) == 1 and ranks <= SUPPORTED_RANKS


class LoraSwiGLUMLP(torch.nn.Module):
    """Mixed into a gated feed-forward network with `act_fn` SiLU (all families' decoders, transformers 5.17)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up, down = self.gate_proj, self.up_proj, self.down_proj
        if not (self.training and is_supported(gate, up, down)):
            return super().forward(x)
        layers = gate, up
        product, inner = lora_swiglu(
            *(layer.base_layer(x) for layer in layers),
            *(layer.working.down(x) for layer in layers),
            *(layer.working.up for layer in layers),
            down.working.a,
        )
        return down.base_layer(product) + F.linear(inner, down.working.up)


def patch_swiglu(decoder: torch.nn.Module) -> None:
    """Let feed-forward networks whose three layers are lean ones compute so in learning, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        layers = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        if all(type(one) is MixedPrecisionLoraLinear for one in layers) and isinstance(mlp.act_fn, SiLUActivation):
            patch_class(LoraSwiGLUMLP, mlp)
