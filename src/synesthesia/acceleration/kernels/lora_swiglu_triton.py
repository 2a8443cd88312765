"""The gated product and its gradients as triton kernels; imported where there is a GPU (see gated_product)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

ROWS, COLUMNS, WARPS = 16, 128, 4  # of a block there; the fastest of those tried on an H100, as the next
BACK, BACK_WARPS = 64, 4  # rows and columns
PARTS = 16  # of the columns: each adds up what goes back to A x over its own, one block of columns after the other


@triton.jit
def _inner(part, row, rows, stride, rank: tl.constexpr):
    """A block of A x, (rows, rank)."""
    return tl.load(part + row[:, None] * stride + tl.arange(0, rank)[None, :], mask=row[:, None] < rows, other=0.0)


@triton.jit
def _weight(weight, column, width, a_column, a_rank, rank: tl.constexpr):
    """A block of B or A as (rank, columns); elements lie `a_column` apart from column to column, and so by rank."""
    places = tl.arange(0, rank)[:, None] * a_rank + column[None, :] * a_column
    return tl.load(weight + places, mask=column[None, :] < width, other=0.0)


@triton.jit
def _summed(made, there, inside, inner, weight, kind: tl.constexpr):
    """y + B A x of a block as float32, each product and the sum rounded."""
    learnt = tl.dot(inner, weight, input_precision="ieee").to(kind).to(tl.float32)
    return (tl.load(made + there, mask=inside, other=0.0).to(tl.float32) + learnt).to(kind).to(tl.float32)


@triton.jit
def _gated(
    gate, up, gate_inner, up_inner, gate_b, up_b, product, rows, width, gate_stride, up_stride,
    rank: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = product.dtype.element_ty
    first = (tl.program_id(0) * block_rows).to(tl.int64)  # within a block 32 bits do, in half the registers
    row, rows = tl.arange(0, block_rows), rows - tl.program_id(0) * block_rows
    column = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    there = row[:, None] * width + column[None, :]
    gate_x = _inner(gate_inner + first * gate_stride, row, rows, gate_stride, rank)
    up_x = _inner(up_inner + first * up_stride, row, rows, up_stride, rank)
    g = _summed(gate + first * width, there, inside, gate_x, _weight(gate_b, column, width, rank, 1, rank), kind)
    u = _summed(up + first * width, there, inside, up_x, _weight(up_b, column, width, rank, 1, rank), kind)
    silu = tl.div_rn(g, 1.0 + libdevice.exp(-g)).to(kind).to(tl.float32)  # as torch's, to the bit
    tl.store(product + first * width + there, (silu * u).to(kind), mask=inside)


@triton.jit
def _back(
    coming, gate, up, coming_inner, gate_inner, up_inner, down_a, gate_b, up_b, of_gate, of_up, parts, rows, width,
    coming_stride, gate_stride, up_stride,
    steps: tl.constexpr, rank: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = of_gate.dtype.element_ty
    first = (tl.program_id(0) * block_rows).to(tl.int64)
    parts += (tl.program_id(1) * rows + first) * (2 * rank)
    row, rows = tl.arange(0, block_rows), rows - tl.program_id(0) * block_rows
    coming, gate, up = coming + first * width, gate + first * width, up + first * width
    of_gate, of_up = of_gate + first * width, of_up + first * width
    coming_x = _inner(coming_inner + first * coming_stride, row, rows, coming_stride, rank)
    gate_x = _inner(gate_inner + first * gate_stride, row, rows, gate_stride, rank)
    up_x = _inner(up_inner + first * up_stride, row, rows, up_stride, rank)
    of_gate_inner = tl.zeros((block_rows, rank), tl.float32)
    of_up_inner = tl.zeros((block_rows, rank), tl.float32)
    for step in range(steps):
        column = (tl.program_id(1) * steps + step) * block_columns + tl.arange(0, block_columns)
        inside = (row[:, None] < rows) & (column[None, :] < width)
        there = row[:, None] * width + column[None, :]
        gate_weight = _weight(gate_b, column, width, rank, 1, rank)
        up_weight = _weight(up_b, column, width, rank, 1, rank)
        c = _summed(coming, there, inside, coming_x, _weight(down_a, column, width, 1, width, rank), kind)
        g = _summed(gate, there, inside, gate_x, gate_weight, kind)
        u = _summed(up, there, inside, up_x, up_weight, kind)
        share = tl.div_rn(1.0, 1.0 + libdevice.exp(-g))
        dg = ((c * u).to(kind).to(tl.float32) * share * (1.0 + g * (1.0 - share))).to(kind)
        du = (c * (g * share).to(kind).to(tl.float32)).to(kind)
        tl.store(of_gate + there, dg, mask=inside)
        tl.store(of_up + there, du, mask=inside)
        of_gate_inner += tl.dot(dg, tl.trans(gate_weight), input_precision="ieee")
        of_up_inner += tl.dot(du, tl.trans(up_weight), input_precision="ieee")
    here = row[:, None] * (2 * rank) + tl.arange(0, rank)[None, :]
    tl.store(parts + here, of_gate_inner, mask=row[:, None] < rows)
    tl.store(parts + here + rank, of_up_inner, mask=row[:, None] < rows)


def launch(
    gate: torch.Tensor, up: torch.Tensor, gate_inner: torch.Tensor, up_inner: torch.Tensor, gate_b: torch.Tensor,
    up_b: torch.Tensor, product: torch.Tensor,
) -> None:  # fmt: skip
    """Fill the product, as of gated_product; all in rows, the rank one of gated_product.RANKS.

    Rows of an inner part may lie apart, as of a part of a wider product; everything else is contiguous.
    """
    (width, rank), rows = gate_b.shape, gate.numel() // gate.shape[-1]
    _gated[triton.cdiv(rows, ROWS), triton.cdiv(width, COLUMNS)](
        gate, up, gate_inner, up_inner, gate_b, up_b, product, rows, width, gate_inner.stride(-2), up_inner.stride(-2),
        rank, ROWS, COLUMNS, num_warps=WARPS,
    )  # fmt: skip


def launch_back(
    coming: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, coming_inner: torch.Tensor, gate_inner: torch.Tensor,
    up_inner: torch.Tensor, down_a: torch.Tensor, gate_b: torch.Tensor, up_b: torch.Tensor, of_gate: torch.Tensor,
    of_up: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Fill the gradients of gate and up; those of both inner parts beside each other, float32 (rows, 2 rank)."""
    (width, rank), rows = gate_b.shape, gate.numel() // gate.shape[-1]
    parts = torch.empty(PARTS, rows, 2 * rank, dtype=torch.float32, device=gate.device)
    strides = (inner.stride(-2) for inner in (coming_inner, gate_inner, up_inner))
    half = gate.dtype.itemsize == 2
    block, stages = (BACK if half else BACK // 2), (3 if half and rank == 16 else 1)  # in an L40's 99 KB shared memory
    _back[triton.cdiv(rows, block), PARTS](
        coming, gate, up, coming_inner, gate_inner, up_inner, down_a, gate_b, up_b, of_gate, of_up, parts, rows, width,
        *strides, triton.cdiv(width, PARTS * block), rank, block, block, num_warps=BACK_WARPS, num_stages=stages,
    )  # fmt: skip
    return parts.sum(0)
