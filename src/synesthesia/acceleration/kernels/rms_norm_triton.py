"""Root mean square normalisation as a triton kernel that adds up as torch does; imported where there is a GPU.

torch's mean of a float32 row (ATen/native/cuda/Reduce.cuh, 2.11), from 16 rows on: a warp a row, whose lanes take four
numbers at a time and have a sum for each place; a lane's sums are added in their order, then the lanes by halves.
Squares of 16-bit numbers are exact in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

STEP_SIZE = 128  # 32 lanes, four sums each
MIN_ROWS, MAX_STEPS = 16, 63  # otherwise torch lets more than a warp add up a row


@triton.jit
def _rms_norm_kernel(
    x_ptr, weight_ptr, out_ptr, rstd_ptr, eps, inv_n_cols, N_COLS: tl.constexpr, BLOCK_SIZE: tl.constexpr
):
    kind = out_ptr.dtype.element_ty
    start = tl.program_id(0).to(tl.int64) * N_COLS
    each = tl.arange(0, 128)
    sums = tl.zeros([128], tl.float32)
    for step in tl.static_range(N_COLS // 128):
        x = tl.load(x_ptr + start + step * 128 + each).to(tl.float32)
        sums += x * x
    even, odd = tl.split(tl.reshape(sums, (32, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    lanes = first + second + third + fourth
    for halved in tl.static_range(5):
        left, right = tl.split(tl.trans(tl.reshape(lanes, (2, 16 // 2**halved))))
        lanes = left + right
    scale = tl.rsqrt(tl.sum(lanes) * inv_n_cols + eps)  # the sum of one number
    tl.store(rstd_ptr + tl.program_id(0), scale)
    for step in tl.static_range(N_COLS // BLOCK_SIZE):
        here = step * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        normed = (tl.load(x_ptr + start + here).to(tl.float32) * scale).to(kind).to(tl.float32)
        tl.store(out_ptr + start + here, (normed * tl.load(weight_ptr + here).to(tl.float32)).to(kind))


def is_supported(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the kernel does this: whole steps of a 16-bit precision, in rows enough."""
    steps, left = divmod(x.shape[-1], STEP_SIZE)
    whole = x.is_contiguous() and weight.is_contiguous() and x.dtype == weight.dtype
    wide = not left and 0 < steps <= MAX_STEPS and x.numel() // x.shape[-1] >= MIN_ROWS
    return whole and wide and x.dtype.itemsize == 2


def launch(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor, rstd: torch.Tensor) -> None:
    """Fill what norms.root_mean_square_norm gives."""
    width = x.shape[-1]
    rows, chunk = (x.numel() // width,), 512 if width % 512 == 0 else STEP_SIZE
    _rms_norm_kernel[rows](x, weight, out, rstd, eps, 1 / width, width, chunk, num_warps=1, enable_fp_fusion=False)
