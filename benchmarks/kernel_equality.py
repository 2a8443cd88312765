"""Fused kernels compared with the torch operations they replace, in bfloat16: unequal elements, and time of both.

Covers RMSNorm as in transformers, with its gradient, and the LoRA SwiGLU, forward and backward (see
acceleration/kernels/rms_norm.py and lora_swiglu.py); the latter's reference is also timed with torch.compile, the
alternative in training. Kernels are launched one by one here, so small ones are bound by launch overhead; training
captures them in a CUDA graph, and in evaluation the CPU runs ahead. The norm's backward pass sums over the width in a
different order.

Without a GPU, the fused operations run their reference: this checks that the benchmark runs; its figures are not
meaningful.

examples:
  python benchmarks/kernel_equality.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tools.plain import DEVICE
from torch.utils.benchmark import Timer

from synesthesia.acceleration.compile import BITWISE_OPTIONS
from synesthesia.acceleration.kernels.lora_swiglu import lora_swiglu, lora_swiglu_backward
from synesthesia.acceleration.kernels.rms_norm import rms_norm
from synesthesia.utils import device

EPSILON = 1e-6
NORM_SHAPES = {  # (clips, length, width), or with a dimension of heads
    "8 audio clips": (8, 368, 4096),
    "64 audio clips": (64, 368, 4096),
    "4 visual clips": (4, 2600, 3584),
    "heads of 128": (8, 368, 32, 128),
    "fewer rows than the kernel takes": (8, 4096),
}
SWIGLU_SHAPES = {"8 audio clips": (2944, 11_008, 16), "4 visual clips": (10_400, 18_944, 16)}  # rows, width, rank


def random_tensor(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(shape, device=DEVICE, dtype=torch.bfloat16)


def rms_norm_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute Qwen2RMSNorm.forward (transformers 5.17)."""
    x_float = x.to(torch.float32)
    x_float = x_float * torch.rsqrt(x_float.pow(2).mean(-1, keepdim=True) + EPSILON)
    return weight * x_float.to(x.dtype)


def add_lora(gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b) -> tuple[torch.Tensor, torch.Tensor]:
    return gate + F.linear(gate_lora_hidden, gate_lora_b), up + F.linear(up_lora_hidden, up_lora_b)


def lora_swiglu_reference(*inputs) -> torch.Tensor:
    gates, ups = add_lora(*inputs[:-1])
    return F.silu(gates) * ups


def lora_swiglu_backward_reference(grad_product, grad_down_lora_hidden, *inputs) -> tuple[torch.Tensor, ...]:
    """Compute the gradients of gate, up and both LoRA hidden states, concatenated."""
    *_, gate_lora_b, up_lora_b, down_lora_a = inputs
    gates, ups = add_lora(*inputs[:-1])
    grad_product = grad_product + grad_down_lora_hidden @ down_lora_a
    grads = torch.ops.aten.silu_backward(grad_product * ups, gates), grad_product * F.silu(gates)
    return *grads, torch.cat([grads[0] @ gate_lora_b, grads[1] @ up_lora_b], -1)


def print_row(title: str, fused: Callable, reference: Callable, inputs: tuple, time_compiled: bool = False) -> None:
    """Print the number of unequal elements per output, and microseconds per variant.

    Args:
        title: First column.
        fused: Fused operation.
        reference: torch operations; additional outputs of the fused operation are not compared.
        inputs: Arguments of both.
        time_compiled: Whether to time the compiled reference as well.
    """
    outputs = [out if isinstance(out, tuple) else (out,) for out in (fused(*inputs), reference(*inputs))]
    unequal = ", ".join(f"{int((a != b).sum())} of {a.numel():,}" for a, b in zip(*outputs, strict=False))
    variants = fused, reference, *([torch.compile(reference, options=BITWISE_OPTIONS)] if time_compiled else [])
    times = [Timer("f(*x)", globals={"f": f, "x": inputs}).blocked_autorange().median * 1e6 for f in variants]
    print(f"| {title} | {unequal} | {' | '.join(f'{t:.0f}' for t in times)} {'|' * (4 - len(times))}", flush=True)


def main() -> None:
    """Run the command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device.select_device()
    if DEVICE == "cpu":
        print("no GPU: the fused operations run their reference")
    torch.manual_seed(0)
    print("| kernel | unequal elements | fused, microseconds | reference | compiled |\n|---|---|---|---|---|")
    for name, shape in NORM_SHAPES.items():
        x, weight, grad_output = random_tensor(*shape), random_tensor(shape[-1]), random_tensor(*shape)
        print_row(f"RMSNorm, {name}", lambda *inputs: rms_norm(*inputs, EPSILON)[0], rms_norm_reference, (x, weight))
        x.requires_grad_()
        outputs = rms_norm(x, weight, EPSILON)[0], rms_norm_reference(x, weight)
        gradients = (lambda g, out=out, x=x: torch.autograd.grad(out, x, g, retain_graph=True)[0] for out in outputs)
        print_row(f"RMSNorm backward, {name}", *gradients, (grad_output,))
    for name, (n_rows, width, rank) in SWIGLU_SHAPES.items():
        gate_lora_hidden, up_lora_hidden = random_tensor(n_rows, 2 * rank).split(rank, -1)
        weights = random_tensor(width, rank) / 20, random_tensor(width, rank) / 20, random_tensor(rank, width) / 20
        gate_and_up = random_tensor(n_rows, width), random_tensor(n_rows, width)
        inputs = *gate_and_up, gate_lora_hidden, up_lora_hidden, *weights
        print_row(f"LoRA SwiGLU, {name}", lora_swiglu, lora_swiglu_reference, inputs, True)
        grads = random_tensor(n_rows, width), random_tensor(n_rows, rank)
        title = f"LoRA SwiGLU backward, {name}"
        print_row(title, lora_swiglu_backward, lora_swiglu_backward_reference, (*grads, *inputs), True)


if __name__ == "__main__":
    main()
