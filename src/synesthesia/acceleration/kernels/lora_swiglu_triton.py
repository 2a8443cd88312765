"""LoRA SwiGLU and its gradients as Triton kernels; imported where there is a GPU (see `lora_swiglu`)."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

FORWARD_BLOCK_ROWS, FORWARD_BLOCK_COLUMNS, FORWARD_WARPS = 16, 128, 4  # the fastest of those tried on an H100
BACKWARD_BLOCK, BACKWARD_WARPS = 64, 4  # rows and columns of a block, likewise
COLUMN_SPLITS = 16  # each adds up the gradient of A x over its own columns, block after block


@triton.jit
def _load_hidden(hidden_ptr, row_offsets, n_rows, row_stride, RANK: tl.constexpr):
    """Load a block of A x, (rows, rank)."""
    return tl.load(
        hidden_ptr + row_offsets[:, None] * row_stride + tl.arange(0, RANK)[None, :],
        mask=row_offsets[:, None] < n_rows,
        other=0.0,
    )


@triton.jit
def _load_lora_weight(weight_ptr, col_offsets, n_cols, col_stride, rank_stride, RANK: tl.constexpr):
    """Load a block of B or A as (rank, columns), with these strides between columns and ranks."""
    offsets = tl.arange(0, RANK)[:, None] * rank_stride + col_offsets[None, :] * col_stride
    return tl.load(weight_ptr + offsets, mask=col_offsets[None, :] < n_cols, other=0.0)


@triton.jit
def _add_lora(base_ptr, offsets, mask, lora_hidden, lora_weight, dtype: tl.constexpr):
    """Compute y + B A x of a block as float32, the product and the sum each rounded to `dtype`."""
    lora = tl.dot(lora_hidden, lora_weight, input_precision="ieee").to(dtype).to(tl.float32)
    return (tl.load(base_ptr + offsets, mask=mask, other=0.0).to(tl.float32) + lora).to(dtype).to(tl.float32)


@triton.jit
def _lora_swiglu_forward_kernel(
    gate_ptr, up_ptr, gate_hidden_ptr, up_hidden_ptr, gate_b_ptr, up_b_ptr, product_ptr,
    n_rows, n_cols, gate_hidden_stride, up_hidden_stride,
    RANK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    dtype = product_ptr.dtype.element_ty
    row_start = (tl.program_id(0) * BLOCK_ROWS).to(tl.int64)  # within a block 32 bits suffice, in half the registers
    rows, n_rows = tl.arange(0, BLOCK_ROWS), n_rows - tl.program_id(0) * BLOCK_ROWS
    cols = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    mask = (rows[:, None] < n_rows) & (cols[None, :] < n_cols)
    offsets = rows[:, None] * n_cols + cols[None, :]
    gate_hidden = _load_hidden(gate_hidden_ptr + row_start * gate_hidden_stride, rows, n_rows, gate_hidden_stride, RANK)
    up_hidden = _load_hidden(up_hidden_ptr + row_start * up_hidden_stride, rows, n_rows, up_hidden_stride, RANK)
    gate_b = _load_lora_weight(gate_b_ptr, cols, n_cols, RANK, 1, RANK)
    g = _add_lora(gate_ptr + row_start * n_cols, offsets, mask, gate_hidden, gate_b, dtype)
    up_b = _load_lora_weight(up_b_ptr, cols, n_cols, RANK, 1, RANK)
    u = _add_lora(up_ptr + row_start * n_cols, offsets, mask, up_hidden, up_b, dtype)
    silu = tl.div_rn(g, 1.0 + libdevice.exp(-g)).to(dtype).to(tl.float32)  # torch's, bit by bit
    tl.store(product_ptr + row_start * n_cols + offsets, (silu * u).to(dtype), mask=mask)


@triton.jit
def _lora_swiglu_backward_kernel(
    grad_product_ptr, gate_ptr, up_ptr, grad_down_hidden_ptr, gate_hidden_ptr, up_hidden_ptr, down_a_ptr, gate_b_ptr,
    up_b_ptr, grad_gate_ptr, grad_up_ptr, partial_sums_ptr,
    n_rows, n_cols, grad_down_hidden_stride, gate_hidden_stride, up_hidden_stride,
    NUM_STEPS: tl.constexpr, RANK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    dtype = grad_gate_ptr.dtype.element_ty
    row_start = (tl.program_id(0) * BLOCK_ROWS).to(tl.int64)
    partial_sums_ptr += (tl.program_id(1) * n_rows + row_start) * (2 * RANK)
    rows, n_rows = tl.arange(0, BLOCK_ROWS), n_rows - tl.program_id(0) * BLOCK_ROWS
    grad_product_ptr += row_start * n_cols
    gate_ptr += row_start * n_cols
    up_ptr += row_start * n_cols
    grad_gate_ptr += row_start * n_cols
    grad_up_ptr += row_start * n_cols
    grad_down_hidden_ptr += row_start * grad_down_hidden_stride
    gate_hidden_ptr += row_start * gate_hidden_stride
    up_hidden_ptr += row_start * up_hidden_stride
    grad_down_hidden = _load_hidden(grad_down_hidden_ptr, rows, n_rows, grad_down_hidden_stride, RANK)
    gate_hidden = _load_hidden(gate_hidden_ptr, rows, n_rows, gate_hidden_stride, RANK)
    up_hidden = _load_hidden(up_hidden_ptr, rows, n_rows, up_hidden_stride, RANK)
    grad_gate_hidden = tl.zeros((BLOCK_ROWS, RANK), tl.float32)
    grad_up_hidden = tl.zeros((BLOCK_ROWS, RANK), tl.float32)
    for step in range(NUM_STEPS):
        cols = (tl.program_id(1) * NUM_STEPS + step) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
        mask = (rows[:, None] < n_rows) & (cols[None, :] < n_cols)
        offsets = rows[:, None] * n_cols + cols[None, :]
        gate_b = _load_lora_weight(gate_b_ptr, cols, n_cols, RANK, 1, RANK)
        up_b = _load_lora_weight(up_b_ptr, cols, n_cols, RANK, 1, RANK)
        down_a = _load_lora_weight(down_a_ptr, cols, n_cols, 1, n_cols, RANK)
        c = _add_lora(grad_product_ptr, offsets, mask, grad_down_hidden, down_a, dtype)
        g = _add_lora(gate_ptr, offsets, mask, gate_hidden, gate_b, dtype)
        u = _add_lora(up_ptr, offsets, mask, up_hidden, up_b, dtype)
        sigmoid = tl.div_rn(1.0, 1.0 + libdevice.exp(-g))
        dg = ((c * u).to(dtype).to(tl.float32) * sigmoid * (1.0 + g * (1.0 - sigmoid))).to(dtype)
        du = (c * (g * sigmoid).to(dtype).to(tl.float32)).to(dtype)
        tl.store(grad_gate_ptr + offsets, dg, mask=mask)
        tl.store(grad_up_ptr + offsets, du, mask=mask)
        grad_gate_hidden += tl.dot(dg, tl.trans(gate_b), input_precision="ieee")
        grad_up_hidden += tl.dot(du, tl.trans(up_b), input_precision="ieee")
    sum_offsets = rows[:, None] * (2 * RANK) + tl.arange(0, RANK)[None, :]
    tl.store(partial_sums_ptr + sum_offsets, grad_gate_hidden, mask=rows[:, None] < n_rows)
    tl.store(partial_sums_ptr + sum_offsets + RANK, grad_up_hidden, mask=rows[:, None] < n_rows)


def launch_forward(
    gate: torch.Tensor,
    up: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    product: torch.Tensor,
) -> None:
    """Fill the product of `lora_swiglu`.

    Args:
        gate: (..., width), contiguous.
        up: (..., width), contiguous.
        gate_lora_hidden: (rows, rank); rows may be strided. The rank is one of `lora_swiglu.SUPPORTED_RANKS`.
        up_lora_hidden: (rows, rank); rows may be strided.
        gate_lora_b: (width, rank), contiguous.
        up_lora_b: (width, rank), contiguous.
        product: (..., width), contiguous; filled.
    """
    (width, rank), rows = gate_lora_b.shape, gate.numel() // gate.shape[-1]
    grid = triton.cdiv(rows, FORWARD_BLOCK_ROWS), triton.cdiv(width, FORWARD_BLOCK_COLUMNS)
    strides = gate_lora_hidden.stride(-2), up_lora_hidden.stride(-2)
    kernel: Any = _lora_swiglu_forward_kernel
    kernel[grid](
        gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b, product, rows, width, *strides,
        rank, FORWARD_BLOCK_ROWS, FORWARD_BLOCK_COLUMNS, num_warps=FORWARD_WARPS,
    )  # fmt: skip


def launch_backward(
    grad_product: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    grad_down_lora_hidden: torch.Tensor,
    gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor,
    down_lora_a: torch.Tensor,
    gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor,
    grad_gate: torch.Tensor,
    grad_up: torch.Tensor,
) -> torch.Tensor:
    """Fill the gradients of gate and up, as `lora_swiglu_backward` defines them.

    Args:
        grad_product: (..., width), contiguous.
        gate: (..., width), contiguous.
        up: (..., width), contiguous.
        grad_down_lora_hidden: (rows, rank); rows may be strided.
        gate_lora_hidden: (rows, rank); rows may be strided.
        up_lora_hidden: (rows, rank); rows may be strided.
        down_lora_a: (rank, width), contiguous.
        gate_lora_b: (width, rank), contiguous.
        up_lora_b: (width, rank), contiguous.
        grad_gate: (..., width), contiguous; filled.
        grad_up: (..., width), contiguous; filled.

    Returns:
        Gradients of both LoRA hidden states, concatenated, float32 (rows, 2 rank).
    """
    (width, rank), rows = gate_lora_b.shape, gate.numel() // gate.shape[-1]
    partial_sums = torch.empty(COLUMN_SPLITS, rows, 2 * rank, dtype=torch.float32, device=gate.device)
    strides = [hidden.stride(-2) for hidden in (grad_down_lora_hidden, gate_lora_hidden, up_lora_hidden)]
    is_half = gate.dtype.itemsize == 2
    block = BACKWARD_BLOCK if is_half else BACKWARD_BLOCK // 2  # fits an L40's 99 KB of shared memory
    num_stages = 3 if is_half and rank == 16 else 1
    grid = triton.cdiv(rows, block), COLUMN_SPLITS
    kernel: Any = _lora_swiglu_backward_kernel
    kernel[grid](
        grad_product, gate, up, grad_down_lora_hidden, gate_lora_hidden, up_lora_hidden, down_lora_a, gate_lora_b,
        up_lora_b, grad_gate, grad_up, partial_sums, rows, width, *strides,
        triton.cdiv(width, COLUMN_SPLITS * block), rank, block, block, num_warps=BACKWARD_WARPS, num_stages=num_stages,
    )  # fmt: skip
    return partial_sums.sum(0)
