"""The gated product and its gradients as triton kernels; imported where there is a GPU (see gated_product)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

ROWS, COLUMNS, WARPS = 16, 256, 4  # of a block there; the fastest of those tried on an H100
BACK_ROWS, BACK_COLUMNS, BACK_WARPS = 16, 32, 1  # larger blocks do not fit a GPU's registers
PARTS = 8  # of the columns: each adds up what goes back to A x over its own, one block of columns after the other


@triton.jit
def _summed(made, inner, b, row, column, inside, rows, width, stride, rank: tl.constexpr, kind: tl.constexpr):
    """y + B A x of a block, both rounded before they are added; and its part of B, (rank, columns)."""
    ranks = tl.arange(0, rank)
    x = tl.load(inner + row[:, None] * stride + ranks[None, :], mask=row[:, None] < rows, other=0.0)
    weight = tl.load(b + column[None, :] * rank + ranks[:, None], mask=column[None, :] < width, other=0.0)
    learnt = tl.dot(x, weight, input_precision="ieee").to(kind).to(tl.float32)
    y = tl.load(made + row[:, None] * width + column[None, :], mask=inside, other=0.0)
    return (y.to(tl.float32) + learnt).to(kind).to(tl.float32), weight


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
    gate, up, product = gate + first * width, up + first * width, product + first * width
    gate_inner, up_inner = gate_inner + first * gate_stride, up_inner + first * up_stride
    g, _ = _summed(gate, gate_inner, gate_b, row, column, inside, rows, width, gate_stride, rank, kind)
    u, _ = _summed(up, up_inner, up_b, row, column, inside, rows, width, up_stride, rank, kind)
    silu = tl.div_rn(g, 1.0 + libdevice.exp(-g)).to(kind).to(tl.float32)  # as torch's, to the bit
    tl.store(product + row[:, None] * width + column[None, :], (silu * u).to(kind), mask=inside)


@triton.jit
def _back(
    coming, gate, up, gate_inner, up_inner, gate_b, up_b, of_gate, of_up, parts, rows, width, gate_stride, up_stride,
    steps: tl.constexpr, rank: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr,
):  # fmt: skip
    kind = of_gate.dtype.element_ty
    first = (tl.program_id(0) * block_rows).to(tl.int64)
    parts += (tl.program_id(1) * rows + first) * (2 * rank)
    row, rows = tl.arange(0, block_rows), rows - tl.program_id(0) * block_rows
    coming, gate, up = coming + first * width, gate + first * width, up + first * width
    of_gate, of_up = of_gate + first * width, of_up + first * width
    gate_inner, up_inner = gate_inner + first * gate_stride, up_inner + first * up_stride
    of_gate_inner = tl.zeros((block_rows, rank), tl.float32)
    of_up_inner = tl.zeros((block_rows, rank), tl.float32)
    for step in range(steps):
        column = (tl.program_id(1) * steps + step) * block_columns + tl.arange(0, block_columns)
        inside = (row[:, None] < rows) & (column[None, :] < width)
        g, gate_weight = _summed(gate, gate_inner, gate_b, row, column, inside, rows, width, gate_stride, rank, kind)
        u, up_weight = _summed(up, up_inner, up_b, row, column, inside, rows, width, up_stride, rank, kind)
        there = row[:, None] * width + column[None, :]
        c = tl.load(coming + there, mask=inside, other=0.0).to(tl.float32)
        share = tl.div_rn(1.0, 1.0 + libdevice.exp(-g))
        silu = tl.div_rn(g, 1.0 + libdevice.exp(-g)).to(kind).to(tl.float32)
        dg = ((c * u).to(kind).to(tl.float32) * share * (1.0 + g * (1.0 - share))).to(kind)
        du = (c * silu).to(kind)
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
    blocks = triton.cdiv(rows, ROWS), triton.cdiv(width, COLUMNS)
    strides = gate_inner.stride(-2), up_inner.stride(-2)
    _gated[blocks](
        gate, up, gate_inner, up_inner, gate_b, up_b, product, rows, width, *strides, rank, ROWS, COLUMNS,
        num_warps=WARPS,
    )  # fmt: skip


def launch_back(
    coming: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, gate_inner: torch.Tensor, up_inner: torch.Tensor,
    gate_b: torch.Tensor, up_b: torch.Tensor, of_gate: torch.Tensor, of_up: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Fill the gradients of gate and up; those of both inner parts beside each other, float32 (rows, 2 rank)."""
    (width, rank), rows = gate_b.shape, gate.numel() // gate.shape[-1]
    parts = torch.empty(PARTS, rows, 2 * rank, dtype=torch.float32, device=gate.device)
    strides = gate_inner.stride(-2), up_inner.stride(-2)
    steps = triton.cdiv(width, PARTS * BACK_COLUMNS)
    _back[triton.cdiv(rows, BACK_ROWS), PARTS](
        coming, gate, up, gate_inner, up_inner, gate_b, up_b, of_gate, of_up, parts, rows, width, *strides, steps,
        rank, BACK_ROWS, BACK_COLUMNS, num_warps=BACK_WARPS,
    )  # fmt: skip
    return parts.sum(0)
