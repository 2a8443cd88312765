"""Our kernels beside the steps of torch that they stand for, in bfloat16: elements that differ, and how long both take.

Norms as transformers writes them, with their gradient, and the middle of a gated feed-forward network with its
adapters, there and back (see models/norm_kernel.py and distillation/gated_kernel.py), whose steps are also timed
compiled, as learning has them otherwise. Called one by one here, so that small ones wait for the processor; in learning
they are recorded in a graph, in answering the processor is ahead. On the way back the sum over a width has another
order.

Without a GPU ours are the steps: the script can be tried there, its figures mean nothing.

examples:
  python benchmarks/own_kernels.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tools.plain import HERE
from torch.utils.benchmark import Timer

from synesthesia.acceleration.compile import BITWISE_OPTIONS
from synesthesia.acceleration.kernels.lora_swiglu import lora_swiglu, lora_swiglu_backward
from synesthesia.acceleration.kernels.rms_norm import rms_norm
from synesthesia.utils import device

EPSILON = 1e-6
NORMS = {  # (clips, length, width) or heads beside
    "8 clips by ear": (8, 368, 4096),
    "64 clips by ear": (64, 368, 4096),
    "4 clips by eye": (4, 2600, 3584),
    "heads of 128": (8, 368, 32, 128),
    "fewer rows than the kernel takes": (8, 4096),
}
PRODUCTS = {"8 clips by ear": (2944, 11_008, 16), "4 clips by eye": (10_400, 18_944, 16)}  # rows, width, rank


def drawn(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(shape, device=HERE, dtype=torch.bfloat16)


def norm_in_steps(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Qwen2RMSNorm.forward (transformers 5.17)."""
    wide = values.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)
    return weight * wide.to(values.dtype)


def sums(gate, up, gate_inner, up_inner, gate_b, up_b) -> tuple[torch.Tensor, torch.Tensor]:
    return gate + F.linear(gate_inner, gate_b), up + F.linear(up_inner, up_b)


def product_in_steps(*parts) -> torch.Tensor:
    gates, ups = sums(*parts[:-1])
    return F.silu(gates) * ups


def gradients_in_steps(coming, coming_inner, *parts) -> tuple[torch.Tensor, ...]:
    """Of gate, up and what is inside of both, one after the other."""
    *_, gate_b, up_b, down_a = parts
    gates, ups = sums(*parts[:-1])
    coming = coming + coming_inner @ down_a
    made = torch.ops.aten.silu_backward(coming * ups, gates), coming * F.silu(gates)
    return *made, torch.cat([made[0] @ gate_b, made[1] @ up_b], -1)


def row(what: str, work: Callable, steps: Callable, given: tuple, compiled: bool = False) -> None:
    """Print what differs in the first outputs, and microseconds."""
    found, expected = (made if isinstance(made, tuple) else (made,) for made in (work(*given), steps(*given)))
    differ = ", ".join(f"{int((a != b).sum())} of {a.numel():,}" for a, b in zip(found, expected, strict=False))
    ways = work, steps, *([torch.compile(steps, options=BITWISE_OPTIONS)] if compiled else [])
    took = [Timer("f(*x)", globals={"f": way, "x": given}).blocked_autorange().median * 1e6 for way in ways]
    print(f"| {what} | {differ} | {' | '.join(f'{value:.0f}' for value in took)} {'|' * (4 - len(took))}", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device.select_device()
    if HERE == "cpu":
        print("no GPU here: ours are the steps")
    torch.manual_seed(0)
    print("| kernel | elements that differ | ours, microseconds | the steps | compiled |\n|---|---|---|---|---|")
    for name, shape in NORMS.items():
        values, weight, coming = drawn(*shape), drawn(shape[-1]), drawn(*shape)
        row(
            f"norm, {name}",
            lambda *parts: rms_norm(*parts, EPSILON)[0],
            norm_in_steps,
            (values, weight),
        )
        values.requires_grad_()
        made = rms_norm(values, weight, EPSILON)[0], norm_in_steps(values, weight)
        back = (lambda c, m=m, v=values: torch.autograd.grad(m, v, c, retain_graph=True)[0] for m in made)
        row(f"its gradient, {name}", *back, (coming,))
    for name, (rows, width, rank) in PRODUCTS.items():
        gate_inner, up_inner = drawn(rows, 2 * rank).split(rank, -1)
        weights = drawn(width, rank) / 20, drawn(width, rank) / 20, drawn(rank, width) / 20
        parts = drawn(rows, width), drawn(rows, width), gate_inner, up_inner, *weights
        row(f"gated product, {name}", lora_swiglu, product_in_steps, parts, True)
        coming = drawn(rows, width), drawn(rows, rank)
        row(f"its gradients, {name}", lora_swiglu_backward, gradients_in_steps, (*coming, *parts), True)


if __name__ == "__main__":
    main()
