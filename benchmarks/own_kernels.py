"""Our kernels beside the steps of torch that they stand for, in bfloat16: elements that differ, and how long both take.

Norms as transformers writes them, with their gradient, and the middle of a gated feed-forward network with its adapters
(see models/norm_kernel.py and distillation/gated_kernel.py). Called one by one here, so that small ones wait for the
processor; in learning they are recorded in a graph, in answering the processor is ahead.

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

from synesthesia.distillation.gated_product import gated_product
from synesthesia.models import device
from synesthesia.models.norms import root_mean_square_norm

EPSILON = 1e-6
NORMS = {  # (clips, length, width) or heads beside
    "8 clips by ear": (8, 368, 4096),
    "64 clips by ear": (64, 368, 4096),
    "4 clips by eye": (4, 2600, 3584),
    "heads of 128": (8, 368, 32, 128),
    "fewer rows than the kernel takes": (8, 4096),
}
PRODUCTS = {"8 clips by ear": (2944, 11_008, 16), "4 clips by eye": (10_400, 18_944, 16)}  # rows, width, rank


def given(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(shape, device=HERE, dtype=torch.bfloat16)


def norm_in_steps(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Qwen2RMSNorm.forward (transformers 5.17)."""
    wide = values.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPSILON)
    return weight * wide.to(values.dtype)


def product_in_steps(gate, up, gate_inner, up_inner, gate_b, up_b) -> torch.Tensor:
    return F.silu(gate + F.linear(gate_inner, gate_b)) * (up + F.linear(up_inner, up_b))


def row(what: str, ours: Callable[[], torch.Tensor], steps: Callable[[], torch.Tensor]) -> None:
    found, expected = ours(), steps()
    differ = int((found != expected).sum())
    took = [Timer("f()", globals={"f": work}).blocked_autorange().median * 1e6 for work in (ours, steps)]
    print(f"| {what} | {differ} of {found.numel():,} | {took[0]:.0f} | {took[1]:.0f} |", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device.pick()
    if HERE == "cpu":
        print("no GPU here: ours are the steps")
    torch.manual_seed(0)
    print("| kernel | elements that differ | ours, microseconds | the steps |\n|---|---|---|---|")
    for name, shape in NORMS.items():
        values, weight, coming = given(*shape), given(shape[-1]), given(*shape)
        row(
            f"norm, {name}",
            lambda v=values, w=weight: root_mean_square_norm(v, w, EPSILON)[0],
            lambda v=values, w=weight: norm_in_steps(v, w),
        )
        values.requires_grad_()
        made = root_mean_square_norm(values, weight, EPSILON)[0], norm_in_steps(values, weight)
        back = (lambda m=m, v=values, c=coming: torch.autograd.grad(m, v, c, retain_graph=True)[0] for m in made)
        row(f"its gradient, {name}", *back)
    for name, (rows, width, rank) in PRODUCTS.items():
        inner = given(rows, 2 * rank).split(rank, -1)
        parts = given(rows, width), given(rows, width), *inner, given(width, rank) / 20, given(width, rank) / 20
        row(f"gated product, {name}", lambda p=parts: gated_product(*p)[0], lambda p=parts: product_in_steps(*p))


if __name__ == "__main__":
    main()
