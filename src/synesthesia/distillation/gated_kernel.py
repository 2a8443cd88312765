"""Gated product as a triton kernel; imported where there is a GPU (see gated_product)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS, COLUMNS, WARPS = 32, 64, 4  # of a block; the fastest of those tried on an H200


@triton.jit
def _summed(
    made, inner, b, row, column, inside, rows, width, rank: tl.constexpr, half: tl.constexpr, kind: tl.constexpr
):
    """One of the two sums of a block: y + A x B, both rounded before they are added."""
    ranks = tl.arange(0, rank)
    x = tl.load(inner + row[:, None] * (2 * rank) + half * rank + ranks[None, :], mask=row[:, None] < rows, other=0.0)
    weight = tl.load(b + column[None, :] * rank + ranks[:, None], mask=column[None, :] < width, other=0.0)
    learnt = tl.dot(x, weight, input_precision="ieee").to(kind).to(tl.float32)
    y = tl.load(made + row[:, None] * (2 * width) + half * width + column[None, :], mask=inside, other=0.0)
    return (y.to(tl.float32) + learnt).to(kind)


@triton.jit
def _gated(
    made, inner, gate, up, product, gates, ups, rows, width,
    rank: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = product.dtype.element_ty
    row = (tl.program_id(0) * block_rows + tl.arange(0, block_rows)).to(tl.int64)
    column = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    g = _summed(made, inner, gate, row, column, inside, rows, width, rank, 0, kind)
    u = _summed(made, inner, up, row, column, inside, rows, width, rank, 1, kind)
    wide = g.to(tl.float32)
    silu = (wide / (1.0 + tl.exp(-wide))).to(kind)
    there = row[:, None] * width + column[None, :]
    tl.store(gates + there, g, mask=inside)
    tl.store(ups + there, u, mask=inside)
    tl.store(product + there, (silu.to(tl.float32) * u.to(tl.float32)).to(kind), mask=inside)


def launch(made: torch.Tensor, inner: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, *outs: torch.Tensor) -> None:
    """Fill the product and both sums, as of gated_product; all contiguous, rank a power of two from 16 on."""
    rows, (width, rank) = made.numel() // made.shape[-1], gate.shape
    blocks = triton.cdiv(rows, ROWS), triton.cdiv(width, COLUMNS)
    _gated[blocks](made, inner, gate, up, *outs, rows, width, rank, ROWS, COLUMNS, num_warps=WARPS)
