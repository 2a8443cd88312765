"""The gated product as a triton kernel; imported where there is a GPU (see gated_product)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

ROWS, COLUMNS, WARPS = 16, 256, 4  # of a block; the fastest of those tried on an H100


@triton.jit
def _summed(
    made, inner, b, row, column, inside, rows, width, stride, rank: tl.constexpr, kind: tl.constexpr
):  # fmt: skip
    """y + B A x of a block, both rounded before they are added."""
    ranks = tl.arange(0, rank)
    x = tl.load(inner + row[:, None] * stride + ranks[None, :], mask=row[:, None] < rows, other=0.0)
    weight = tl.load(b + column[None, :] * rank + ranks[:, None], mask=column[None, :] < width, other=0.0)
    learnt = tl.dot(x, weight, input_precision="ieee").to(kind).to(tl.float32)
    y = tl.load(made + row[:, None] * width + column[None, :], mask=inside, other=0.0)
    return (y.to(tl.float32) + learnt).to(kind)


@triton.jit
def _gated(
    gate, up, gate_inner, up_inner, gate_b, up_b, product, gates, ups, rows, width, gate_stride, up_stride,
    rank: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = product.dtype.element_ty
    row = (tl.program_id(0) * block_rows + tl.arange(0, block_rows)).to(tl.int64)
    column = tl.program_id(1) * block_columns + tl.arange(0, block_columns)
    inside = (row[:, None] < rows) & (column[None, :] < width)
    g = _summed(gate, gate_inner, gate_b, row, column, inside, rows, width, gate_stride, rank, kind)
    u = _summed(up, up_inner, up_b, row, column, inside, rows, width, up_stride, rank, kind)
    wide = g.to(tl.float32)
    silu = tl.div_rn(wide, 1.0 + libdevice.exp(-wide)).to(kind)  # as torch's, to the bit
    there = row[:, None] * width + column[None, :]
    tl.store(gates + there, g, mask=inside)
    tl.store(ups + there, u, mask=inside)
    tl.store(product + there, (silu.to(tl.float32) * u.to(tl.float32)).to(kind), mask=inside)


def launch(
    gate: torch.Tensor, up: torch.Tensor, gate_inner: torch.Tensor, up_inner: torch.Tensor, gate_b: torch.Tensor,
    up_b: torch.Tensor, *outs: torch.Tensor,
) -> None:  # fmt: skip
    """Fill the product and both sums, as of gated_product; all in rows, the rank one of gated_product.RANKS.

    Rows of an inner part may lie apart, as of a part of a wider product; everything else is contiguous.
    """
    (width, rank), rows = gate_b.shape, gate.numel() // gate.shape[-1]
    blocks = triton.cdiv(rows, ROWS), triton.cdiv(width, COLUMNS)
    strides = gate_inner.stride(-2), up_inner.stride(-2)
    _gated[blocks](
        gate, up, gate_inner, up_inner, gate_b, up_b, *outs, rows, width, *strides, rank, ROWS, COLUMNS,
        num_warps=WARPS,
    )  # fmt: skip
