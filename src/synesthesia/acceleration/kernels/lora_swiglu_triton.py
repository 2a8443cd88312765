"""The gated product and its gradients as triton kernels; imported where there is a GPU (see gated_product)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

FORWARD_BLOCK_ROWS, FORWARD_BLOCK_COLUMNS, FORWARD_WARPS = (
    16,
    128,
    4,
)  # of a block there; the fastest of those tried on an H100, as the next
BACKWARD_BLOCK, BACKWARD_WARPS = 64, 4  # rows and columns
COLUMN_SPLITS = (
    16  # of the columns: each adds up what goes back to A x over its own, one block of columns after the other
)


@triton.jit
def _load_hidden(hidden_ptr, row_offsets, n_rows, row_stride, RANK: tl.constexpr):
    """A block of A x, (rows, rank)."""
    return tl.load(
        hidden_ptr + row_offsets[:, None] * row_stride + tl.arange(0, RANK)[None, :],
        mask=row_offsets[:, None] < n_rows,
        other=0.0,
    )


@triton.jit
def _load_lora_weight(weight_ptr, col_offsets, n_cols, col_stride, rank_stride, RANK: tl.constexpr):
    """A block of B or A as (rank, columns); elements lie `a_column` apart from column to column, and so by rank."""
    places = tl.arange(0, RANK)[:, None] * rank_stride + col_offsets[None, :] * col_stride
    return tl.load(weight_ptr + places, mask=col_offsets[None, :] < n_cols, other=0.0)


@triton.jit
def _add_lora(base_ptr, offsets, mask, lora_hidden, lora_weight, dtype: tl.constexpr):
    """Y + B A x of a block as float32, each product and the sum rounded."""
    learnt = tl.dot(lora_hidden, lora_weight, input_precision="ieee").to(dtype).to(tl.float32)
    return (tl.load(base_ptr + offsets, mask=mask, other=0.0).to(tl.float32) + learnt).to(dtype).to(tl.float32)


@triton.jit
def _lora_swiglu_forward_kernel(
    gate_ptr, up_ptr, gate_lora_hidden_ptr, up_lora_hidden_ptr, gate_lora_b_ptr, up_lora_b_ptr, product_ptr, n_rows, n_cols, gate_stride, up_stride,
    RANK: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = product_ptr.dtype.element_ty
    first = (tl.program_id(0) * block_rows).to(tl.int64)  # within a block 32 bits do, in half the registers
    row, n_rows = tl.arange(0, block_rows), n_rows - tl.program_id(0) * block_rows
    column = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    inside = (row[:, None] < n_rows) & (column[None, :] < n_cols)
    there = row[:, None] * n_cols + column[None, :]
    gate_x = _load_hidden(gate_lora_hidden_ptr + first * gate_stride, row, n_rows, gate_stride, RANK)
    up_x = _load_hidden(up_lora_hidden_ptr + first * up_stride, row, n_rows, up_stride, RANK)
    g = _add_lora(
        gate_ptr + first * n_cols,
        there,
        inside,
        gate_x,
        _load_lora_weight(gate_lora_b_ptr, column, n_cols, RANK, 1, RANK),
        kind,
    )
    u = _add_lora(
        up_ptr + first * n_cols,
        there,
        inside,
        up_x,
        _load_lora_weight(up_lora_b_ptr, column, n_cols, RANK, 1, RANK),
        kind,
    )
    silu = tl.div_rn(g, 1.0 + libdevice.exp(-g)).to(kind).to(tl.float32)  # as torch's, to the bit
    tl.store(product_ptr + first * n_cols + there, (silu * u).to(kind), mask=inside)


@triton.jit
def _lora_swiglu_backward_kernel(
    grad_product_ptr, gate_ptr, up_ptr, grad_down_lora_hidden_ptr, gate_lora_hidden_ptr, up_lora_hidden_ptr, down_lora_a_ptr, gate_lora_b_ptr, up_lora_b_ptr, grad_gate_ptr, grad_up_ptr, partial_sums_ptr, n_rows, n_cols,
    grad_down_lora_hidden_stride, gate_lora_hidden_stride, up_lora_hidden_stride,
    NUM_STEPS: tl.constexpr, RANK: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    kind = grad_gate_ptr.dtype.element_ty
    first = (tl.program_id(0) * BLOCK_ROWS).to(tl.int64)
    partial_sums_ptr += (tl.program_id(1) * n_rows + first) * (2 * RANK)
    row, n_rows = tl.arange(0, BLOCK_ROWS), n_rows - tl.program_id(0) * BLOCK_ROWS
    grad_product_ptr, gate_ptr, up_ptr = (
        grad_product_ptr + first * n_cols,
        gate_ptr + first * n_cols,
        up_ptr + first * n_cols,
    )
    grad_gate_ptr, grad_up_ptr = grad_gate_ptr + first * n_cols, grad_up_ptr + first * n_cols
    coming_x = _load_hidden(
        grad_down_lora_hidden_ptr + first * grad_down_lora_hidden_stride,
        row,
        n_rows,
        grad_down_lora_hidden_stride,
        RANK,
    )
    gate_x = _load_hidden(
        gate_lora_hidden_ptr + first * gate_lora_hidden_stride, row, n_rows, gate_lora_hidden_stride, RANK
    )
    up_x = _load_hidden(up_lora_hidden_ptr + first * up_lora_hidden_stride, row, n_rows, up_lora_hidden_stride, RANK)
    of_gate_inner = tl.zeros((BLOCK_ROWS, RANK), tl.float32)
    of_up_inner = tl.zeros((BLOCK_ROWS, RANK), tl.float32)
    for step in range(NUM_STEPS):
        column = (tl.program_id(1) * NUM_STEPS + step) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
        inside = (row[:, None] < n_rows) & (column[None, :] < n_cols)
        there = row[:, None] * n_cols + column[None, :]
        gate_weight = _load_lora_weight(gate_lora_b_ptr, column, n_cols, RANK, 1, RANK)
        up_weight = _load_lora_weight(up_lora_b_ptr, column, n_cols, RANK, 1, RANK)
        c = _add_lora(
            grad_product_ptr,
            there,
            inside,
            coming_x,
            _load_lora_weight(down_lora_a_ptr, column, n_cols, 1, n_cols, RANK),
            kind,
        )
        g = _add_lora(gate_ptr, there, inside, gate_x, gate_weight, kind)
        u = _add_lora(up_ptr, there, inside, up_x, up_weight, kind)
        share = tl.div_rn(1.0, 1.0 + libdevice.exp(-g))
        dg = ((c * u).to(kind).to(tl.float32) * share * (1.0 + g * (1.0 - share))).to(kind)
        du = (c * (g * share).to(kind).to(tl.float32)).to(kind)
        tl.store(grad_gate_ptr + there, dg, mask=inside)
        tl.store(grad_up_ptr + there, du, mask=inside)
        of_gate_inner += tl.dot(dg, tl.trans(gate_weight), input_precision="ieee")
        of_up_inner += tl.dot(du, tl.trans(up_weight), input_precision="ieee")
    here = row[:, None] * (2 * RANK) + tl.arange(0, RANK)[None, :]
    tl.store(partial_sums_ptr + here, of_gate_inner, mask=row[:, None] < n_rows)
    tl.store(partial_sums_ptr + here + RANK, of_up_inner, mask=row[:, None] < n_rows)


def launch_forward(
    gate: torch.Tensor, up: torch.Tensor, gate_lora_hidden: torch.Tensor, up_lora_hidden: torch.Tensor, gate_lora_b: torch.Tensor,
    up_lora_b: torch.Tensor, product: torch.Tensor,
) -> None:  # fmt: skip
    """Fill the product, as of gated_product; all in rows, the rank one of gated_product.RANKS.

    Rows of an inner part may lie apart, as of a part of a wider product; everything else is contiguous.
    """
    (width, rank), rows = gate_lora_b.shape, gate.numel() // gate.shape[-1]
    _lora_swiglu_forward_kernel[triton.cdiv(rows, FORWARD_BLOCK_ROWS), triton.cdiv(width, FORWARD_BLOCK_COLUMNS)](
        gate, up, gate_lora_hidden, up_lora_hidden, gate_lora_b, up_lora_b, product, rows, width, gate_lora_hidden.stride(-2), up_lora_hidden.stride(-2),
        rank, FORWARD_BLOCK_ROWS, FORWARD_BLOCK_COLUMNS, num_warps=FORWARD_WARPS,
    )  # fmt: skip


def launch_backward(
    grad_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, grad_down_lora_hidden: torch.Tensor, gate_lora_hidden: torch.Tensor,
    up_lora_hidden: torch.Tensor, down_lora_a: torch.Tensor, gate_lora_b: torch.Tensor, up_lora_b: torch.Tensor, grad_gate: torch.Tensor,
    grad_up: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Fill the gradients of gate and up; those of both inner parts beside each other, float32 (rows, 2 rank)."""
    (width, rank), rows = gate_lora_b.shape, gate.numel() // gate.shape[-1]
    parts = torch.empty(COLUMN_SPLITS, rows, 2 * rank, dtype=torch.float32, device=gate.device)
    strides = (inner.stride(-2) for inner in (grad_down_lora_hidden, gate_lora_hidden, up_lora_hidden))
    half = gate.dtype.itemsize == 2
    block, stages = (
        (BACKWARD_BLOCK if half else BACKWARD_BLOCK // 2),
        (3 if half and rank == 16 else 1),
    )  # in an L40's 99 KB shared memory
    _lora_swiglu_backward_kernel[triton.cdiv(rows, block), COLUMN_SPLITS](
        grad_product, gate, up, grad_down_lora_hidden, gate_lora_hidden, up_lora_hidden, down_lora_a, gate_lora_b, up_lora_b, grad_gate, grad_up, parts, rows, width,
        *strides, triton.cdiv(width, COLUMN_SPLITS * block), rank, block, block, num_warps=BACKWARD_WARPS, num_stages=stages,
    )  # fmt: skip
    return parts.sum(0)
