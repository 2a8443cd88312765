"""RMSNorm as a Triton kernel that adds up in torch's order; imported where there is a GPU.

torch's mean of a float32 row (ATen/native/cuda/Reduce.cuh, 2.11), from 16 rows on: one warp per row, whose lanes take
four numbers at a time and hold one sum per slot; a lane's sums are added in order, then the lanes by halves. Squares of
16-bit numbers are exact in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

STEP_SIZE = 128  # 32 lanes, four sums each
MIN_ROWS, MAX_STEPS = 16, 63  # otherwise torch takes more than one warp per row


@triton.jit
def _rms_norm_kernel(
    x_ptr, weight_ptr, out_ptr, rstd_ptr, eps, inv_n_cols, N_COLS: tl.constexpr, BLOCK_SIZE: tl.constexpr
):
    dtype = out_ptr.dtype.element_ty
    start = tl.program_id(0).to(tl.int64) * N_COLS
    lane_offsets = tl.arange(0, 128)
    sums = tl.zeros([128], tl.float32)
    for step in tl.static_range(N_COLS // 128):
        x = tl.load(x_ptr + start + step * 128 + lane_offsets).to(tl.float32)
        sums += x * x
    even, odd = tl.split(tl.reshape(sums, (32, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    lanes = first + second + third + fourth
    for halving in tl.static_range(5):
        left, right = tl.split(tl.trans(tl.reshape(lanes, (2, 16 // 2**halving))))
        lanes = left + right
    rstd = tl.rsqrt(tl.sum(lanes) * inv_n_cols + eps)  # the sum of one number
    tl.store(rstd_ptr + tl.program_id(0), rstd)
    for step in tl.static_range(N_COLS // BLOCK_SIZE):
        offsets = step * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        normed = (tl.load(x_ptr + start + offsets).to(tl.float32) * rstd).to(dtype).to(tl.float32)
        tl.store(out_ptr + start + offsets, (normed * tl.load(weight_ptr + offsets).to(tl.float32)).to(dtype))


def is_supported(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether the kernel supports this input: 16 bits, full steps, enough rows."""
    num_steps, remainder = divmod(x.shape[-1], STEP_SIZE)
    is_plain = x.is_contiguous() and weight.is_contiguous() and x.dtype == weight.dtype
    has_shape = not remainder and 0 < num_steps <= MAX_STEPS and x.numel() // x.shape[-1] >= MIN_ROWS
    return is_plain and has_shape and x.dtype.itemsize == 2


def launch(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor, rstd: torch.Tensor) -> None:
    """Fill the outputs of `rms_norm`.

    Args:
        x: (..., width), contiguous, 16 bits.
        weight: (width,), the same dtype.
        eps: Added to the mean square.
        out: Like x; filled.
        rstd: float32 (..., 1); filled.
    """
    width = x.shape[-1]
    grid, block_size = (x.numel() // width,), 512 if width % 512 == 0 else STEP_SIZE
    kernel: Any = _rms_norm_kernel
    kernel[grid](x, weight, out, rstd, eps, 1 / width, width, block_size, num_warps=1, enable_fp_fusion=False)
