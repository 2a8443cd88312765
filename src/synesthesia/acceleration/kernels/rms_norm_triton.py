"""Root mean square normalisation as a triton kernel that adds up as torch does; imported where there is a GPU.

torch's mean of a float32 row (ATen/native/cuda/Reduce.cuh, 2.11), from 16 rows on: a warp a row, whose lanes take four
numbers at a time and have a sum for each place; a lane's sums are added in their order, then the lanes by halves.
Squares of 16-bit numbers are exact in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

STEP = 128  # 32 lanes, four sums each
LEAST_ROWS, MOST_STEPS = 16, 63  # otherwise torch lets more than a warp add up a row


@triton.jit
def _norm(values, weight, out, scales, epsilon, factor, width: tl.constexpr, chunk: tl.constexpr):
    kind = out.dtype.element_ty
    start = tl.program_id(0).to(tl.int64) * width
    each = tl.arange(0, 128)
    sums = tl.zeros([128], tl.float32)
    for step in tl.static_range(width // 128):
        x = tl.load(values + start + step * 128 + each).to(tl.float32)
        sums += x * x
    even, odd = tl.split(tl.reshape(sums, (32, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    lanes = first + second + third + fourth
    for halved in tl.static_range(5):
        left, right = tl.split(tl.trans(tl.reshape(lanes, (2, 16 // 2**halved))))
        lanes = left + right
    scale = tl.rsqrt(tl.sum(lanes) * factor + epsilon)  # the sum of one number
    tl.store(scales + tl.program_id(0), scale)
    for step in tl.static_range(width // chunk):
        here = step * chunk + tl.arange(0, chunk)
        normed = (tl.load(values + start + here).to(tl.float32) * scale).to(kind).to(tl.float32)
        tl.store(out + start + here, (normed * tl.load(weight + here).to(tl.float32)).to(kind))


def can(values: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the kernel does this: whole steps of a 16-bit precision, in rows enough."""
    steps, left = divmod(values.shape[-1], STEP)
    whole = values.is_contiguous() and weight.is_contiguous() and values.dtype == weight.dtype
    wide = not left and 0 < steps <= MOST_STEPS and values.numel() // values.shape[-1] >= LEAST_ROWS
    return whole and wide and values.dtype.itemsize == 2


def launch(values: torch.Tensor, weight: torch.Tensor, epsilon: float, out: torch.Tensor, scales: torch.Tensor) -> None:
    """Fill what norms.root_mean_square_norm gives."""
    width = values.shape[-1]
    rows, chunk = (values.numel() // width,), 512 if width % 512 == 0 else STEP
    _norm[rows](values, weight, out, scales, epsilon, 1 / width, width, chunk, num_warps=1, enable_fp_fusion=False)
