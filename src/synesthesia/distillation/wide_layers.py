"""Frozen layers with one input as one product there, and a layer with its adapter as one product back.

A product of eight clips is a few rounds of the GPU's blocks, the last of them part empty: one product of layers that
get the same input, their W below each other, has fewer such ends. (Not so on the way back: their gradients would have
to be copied together, which costs more than it saves.) Where a layer has its input to itself, s B stands beside its
W, and one product gives what goes back to x and what goes to A x. Each number is rounded as peft rounds it in mixed
precision: products of layer and adapter stay apart on the way there, since one rounding instead of two parts
gradients from plain's by more than another batch size does (docs/gpu.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from synesthesia.distillation.lean_lora import LeanLoraLinear


class _Product(torch.autograd.Function):
    """W x + b + s B A x of each layer; gradients of x, A and each s B. Outputs and ranks are the layers' sizes."""

    @staticmethod
    def forward(ctx, x, down, weight, bias, outs, ranks, *ups):
        inner = F.linear(x, down)
        ctx.save_for_backward(x, inner, down, weight, *ups)
        ctx.outs, ctx.ranks = outs, ranks
        made = F.linear(x, weight[:, : x.shape[-1]], bias).split(outs, -1)
        return tuple(y + F.linear(part, up) for y, part, up in zip(made, inner.split(ranks, -1), ups, strict=True))

    @staticmethod
    def backward(ctx, *coming):
        outer, down, *learnt = gradients(coming, ctx.needs_input_grad[0], ctx.outs, ctx.ranks, *ctx.saved_tensors)
        return outer, down, None, None, None, None, *learnt


def gradients(
    coming: tuple[torch.Tensor, ...], wanted: bool, outs: list[int], ranks: list[int], x: torch.Tensor,
    inner: torch.Tensor, down: torch.Tensor, weight: torch.Tensor, *ups: torch.Tensor,
) -> list[torch.Tensor | None]:  # fmt: skip
    """Of x (if wanted), of the A's and of each s B; `inner` is A x, the rest as of WideLayer."""
    parts = inner.flatten(0, -2).split(ranks, -1)
    learnt = [y.flatten(0, -2).T @ part for y, part in zip(coming, parts, strict=True)]
    if len(coming) == 1:
        outer, inner = (coming[0] @ weight).split([x.shape[-1], *ranks], -1)
    else:
        outer = sum(y @ block for y, block in zip(coming, weight.split(outs), strict=True))
        inner = torch.cat([y @ up for y, up in zip(coming, ups, strict=True)], -1)
    outer = outer + inner @ down if wanted else None
    return [outer, inner.flatten(0, -2).T @ x.flatten(0, -2), *learnt]


class WideLayer(torch.nn.Module):
    """Layers that get one and the same input, and their adapters; the layers' frozen weights move into it.

    down: A's below each other, (all ranks, width); weight: W's below each other, (all outputs, width), and where there
    is one layer alone its s B beside, (outputs, width + rank). All are in the layers' precision; `downs` and `ups` are
    where each layer's A and s B go.
    """

    def __init__(self, layers: list[LeanLoraLinear]) -> None:
        super().__init__()
        bases = [layer.base_layer for layer in layers]
        self.outs = [base.out_features for base in bases]
        self.ranks = [layer.r[layer.active_adapters[0]] for layer in layers]
        width, beside = bases[0].in_features, self.ranks[0] if len(layers) == 1 else 0
        like = {"dtype": bases[0].weight.dtype, "device": bases[0].weight.device}
        self.weight = torch.nn.Parameter(torch.zeros(sum(self.outs), width + beside, **like), requires_grad=False)
        self.down = torch.nn.Parameter(torch.zeros(sum(self.ranks), width, **like))
        self.bias = None
        if any(base.bias is not None for base in bases):
            biases = [torch.zeros(base.out_features, **like) if base.bias is None else base.bias for base in bases]
            self.bias = torch.nn.Parameter(torch.cat(biases).detach(), requires_grad=False)
        self.downs = self.down.detach().split(self.ranks)
        for base, block in zip(bases, self.weight.detach().split(self.outs), strict=True):
            block[:, :width].copy_(base.weight)
            base.weight.data = block[:, :width]
        if beside:
            self.ups = [self.weight.detach()[:, width:].requires_grad_()]
        else:
            sizes = zip(self.outs, self.ranks, strict=True)
            self.ups = [torch.zeros(size, **like, requires_grad=True) for size in sizes]
        self._input, self._wanted = None, 0
        self._made: tuple[torch.Tensor, ...] = ()

    def of(self, x: torch.Tensor, place: int) -> torch.Tensor:
        """What the layer at this place makes of x: computed for all when the first comes, forgotten after the last."""
        if self._input is not x:
            self._made = _Product.apply(x, self.down, self.weight, self.bias, self.outs, self.ranks, *self.ups)
            self._input, self._wanted = x, len(self._made)
        made = self._made[place]
        self._wanted -= 1
        if not self._wanted:
            self._input, self._made = None, ()
        return made
