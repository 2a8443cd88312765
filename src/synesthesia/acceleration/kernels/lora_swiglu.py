"""Fused LoRA SwiGLU: gate and up LoRA additions, SiLU and product in one Triton kernel, forward and backward.

silu(y_gate + s B A x) * (y_up + s B A x), each step rounded as if it stood alone, and A of the down projection of it.
Unfused, this materializes both LoRA outputs and both pre-activations and reads them again in the backward pass (about
650 MB per layer for eight audio clips). Only y_gate and y_up are saved, and nothing is written but the product and the
gradients. Training only. Unsloth's fast_lora and Liger-Kernel's SwiGLU are of the same kind, without the rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers.activations import SiLUActivation

from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear
from synesthesia.acceleration.patching import patch_class

SUPPORTED_RANKS = {16, 32, 64}  # powers of two; higher ranks need more shared memory than some GPUs have


def _add_lora(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    return gate + F.linear(gate_lora_hidden, gate_lora_b), up + F.linear(up_lora_hidden, up_lora_b)


@torch.library.custom_op("synesthesia::lora_swiglu", mutates_args=())
def lora_swiglu(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    down_lora_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the gated product with its LoRA terms.

    Args:
        gate: Output of the frozen gate projection, (..., width).
        up: Output of the frozen up projection, (..., width).
        gate_lora_hidden: A x of the gate projection, (..., rank).
        up_lora_hidden: A x of the up projection, (..., rank).
        gate_lora_b: s B of the gate projection, (width, rank).
        up_lora_b: s B of the up projection, (width, rank).
        down_lora_a: A of the down projection, (rank, width).

    Returns:
        The product, (..., width), and A of the down projection of it, (..., rank).
    """
    gates, ups = _add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b)
    product = F.silu(gates) * ups
    return product, F.linear(product, down_lora_a)


@lora_swiglu.register_fake
def _fake(
    gate: torch.Tensor, up: torch.Tensor, gate_lora_hidden: torch.Tensor, *_: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return gate.new_empty(gate.shape), gate.new_empty(gate_lora_hidden.shape)


@lora_swiglu.register_kernel("cuda")
def _forward_cuda(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    down_lora_a: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    from synesthesia.acceleration.kernels import lora_swiglu_triton  # triton is installed where torch has a GPU

    product = gate.new_empty(gate.shape)
    hidden = as_2d(gate_lora_hidden), as_2d(up_lora_hidden)
    lora_swiglu_triton.launch_forward(gate.contiguous(), up.contiguous(), *hidden, gate_lora_b, up_lora_b, product)
    return product, F.linear(product, down_lora_a)


@torch.library.custom_op("synesthesia::lora_swiglu_backward", mutates_args=())
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
    """Compute the gradients of `lora_swiglu` with respect to its first four inputs.

    Args:
        grad_product: Gradient of the product, (..., width).
        grad_down_lora_hidden: Gradient of A of the down projection of it, (..., rank).
        gate: As in `lora_swiglu`, like the arguments that follow.
        up: As in `lora_swiglu`.
        gate_lora_hidden: As in `lora_swiglu`.
        up_lora_hidden: As in `lora_swiglu`.
        gate_lora_b: As in `lora_swiglu`.
        up_lora_b: As in `lora_swiglu`.
        down_lora_a: As in `lora_swiglu`.

    Returns:
        Gradients of gate and up, (..., width), and of both LoRA hidden states, concatenated, (..., 2 rank).
    """
    gates, ups = _add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b)
    grad_sum = grad_product + grad_down_lora_hidden @ down_lora_a
    grad_gate, grad_up = torch.ops.aten.silu_backward(grad_sum * ups, gates), grad_sum * F.silu(gates)
    return grad_gate, grad_up, torch.cat([grad_gate @ gate_lora_b, grad_up @ up_lora_b], -1)


@lora_swiglu_backward.register_fake
def _fake_backward(
    grad_product: torch.Tensor,
    grad_down_lora_hidden: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    *_: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    grad_hidden = gate.new_empty(*gate.shape[:-1], 2 * gate_lora_hidden.shape[-1])
    return gate.new_empty(gate.shape), gate.new_empty(gate.shape), grad_hidden


@lora_swiglu_backward.register_kernel("cuda")
def _backward_cuda(
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
    from synesthesia.acceleration.kernels import lora_swiglu_triton

    grad_gate, grad_up = gate.new_empty(gate.shape), gate.new_empty(gate.shape)
    grad_hidden = lora_swiglu_triton.launch_backward(
        grad_product.contiguous(),
        gate.contiguous(),
        up.contiguous(),
        as_2d(grad_down_lora_hidden),
        as_2d(gate_lora_hidden),
        as_2d(up_lora_hidden),
        down_lora_a,
        gate_lora_b,
        up_lora_b,
        grad_gate,
        grad_up,
    )
    return grad_gate, grad_up, grad_hidden.view(*gate.shape[:-1], -1).to(gate.dtype)


def as_2d(lora_hidden: torch.Tensor) -> torch.Tensor:
    """View (..., rank) as (rows, rank); rows may be strided but are contiguous inside, else a copy is made."""
    flat = lora_hidden.flatten(0, -2)
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def _setup_context(ctx: Any, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[0])


def _backward(ctx: Any, grad_product: torch.Tensor, grad_down_lora_hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    *inputs, product = ctx.saved_tensors
    grad_gate, grad_up, grad_hidden = lora_swiglu_backward(grad_product, grad_down_lora_hidden, *inputs)
    pairs = (grad_gate, inputs[2]), (grad_up, inputs[3]), (grad_down_lora_hidden, product)
    grad_weights = (grad.flatten(0, -2).T @ value.flatten(0, -2) for grad, value in pairs)
    return grad_gate, grad_up, *grad_hidden.chunk(2, -1), *grad_weights


lora_swiglu.register_autograd(_backward, setup_context=_setup_context)


def is_supported(*layers: MixedPrecisionLoraLinear) -> bool:
    """Return whether the kernels support these layers (gate, up, down) in their present state."""
    ranks = set()
    for layer in layers:
        name = layer.single_adapter_name()
        if name is None or not layer.compute_weights or layer.has_dropout:
            return False
        ranks.add(layer.r[name])
    return len(ranks) == 1 and ranks <= SUPPORTED_RANKS


class LoraSwiGLUMLP(torch.nn.Module):
    """Mixin of a gated MLP with `act_fn` SiLU (the decoders of all families, transformers 5.17)."""

    gate_proj: MixedPrecisionLoraLinear
    up_proj: MixedPrecisionLoraLinear
    down_proj: MixedPrecisionLoraLinear

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        gate, up, down = self.gate_proj, self.up_proj, self.down_proj
        if not (self.training and is_supported(gate, up, down)):
            return super().forward(x)
        gate_lora, up_lora, down_lora = gate.compute_weights, up.compute_weights, down.compute_weights
        assert gate_lora and up_lora and down_lora  # see is_supported
        product, down_lora_hidden = lora_swiglu(
            gate.base_layer(x),
            up.base_layer(x),
            gate_lora.project(x),
            up_lora.project(x),
            gate_lora.scaled_lora_b,
            up_lora.scaled_lora_b,
            down_lora.lora_a,
        )
        return down.base_layer(product) + F.linear(down_lora_hidden, down_lora.scaled_lora_b)


def patch_swiglu(decoder: Any) -> None:
    """Patch every MLP of `decoder` whose three layers are `MixedPrecisionLoraLinear`, in place."""
    for layer in decoder.layers:
        mlp = layer.mlp
        layers = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        if all(type(linear) is MixedPrecisionLoraLinear for linear in layers) and isinstance(
            mlp.act_fn, SiLUActivation
        ):
            patch_class(LoraSwiGLUMLP, mlp)
