"""Frozen layers and what their adapters learn as one product, in learning on a GPU.

Computed as it is written, W x + s B A x takes a small product beside each large one, and passes over their outputs to
add them up: of a 7B model's step a tenth, all of it bytes moved. Here s B stands beside W, A x beside x, and the layer
is one product of them, a sixty-fifth wider (a step of matrix product kernels is 64 columns); its way back gives what
goes to A x beside what goes to x. Layers with one input stand below each other. Numbers are those of the separate
products but for one rounding of y instead of three.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F

from synesthesia.distillation.lean_lora import LeanLoraLinear

COLUMNS = 64  # in steps of so many columns do matrix product kernels go


@torch.library.custom_op("synesthesia::append_product", mutates_args=("both",))
def append_product(both: torch.Tensor, down: torch.Tensor) -> None:
    """Write A x behind x, in place. both: (..., width + columns), contiguous; down: A, (columns, width).

    An operation of its own, since the compiler would copy x to put something behind it.
    """
    x, behind = both.flatten(0, -2).split([down.shape[1], down.shape[0]], -1)
    torch.mm(x, down.T, out=behind)


class _Product(torch.autograd.Function):
    """y = [W, s B] [x, A x] + b, in the parts that are each layer's; gradients of x, A and each s B, whose values
    `weight` holds already.
    """

    @staticmethod
    def forward(ctx, x, down, weight, bias, outs, ranks, *ups):
        both = F.pad(x, (0, len(down)))
        append_product(both, down)
        ctx.save_for_backward(both, down, weight)
        ctx.outs, ctx.ranks = outs, ranks
        return F.linear(both, weight, bias).split(outs, -1)

    @staticmethod
    def backward(ctx, *coming):
        both, down, weight = ctx.saved_tensors
        columns, width = down.shape
        spare = columns - sum(ctx.ranks)
        parts = [width, *ctx.ranks, spare]
        x, *appended = both.flatten(0, -2).split(parts, -1)
        ups = [y.flatten(0, -2).T @ part for y, part in zip(coming, appended, strict=False)]
        if len(coming) == 1:
            outer, inner = (coming[0] @ weight).split([width, columns], -1)
        else:  # one by one: gradients would have to be copied together, which costs more than one product saves
            blocks = [block.split(parts, -1) for block in weight.split(ctx.outs)]
            inner = [y @ block[1 + place] for place, (y, block) in enumerate(zip(coming, blocks, strict=True))]
            inner = F.pad(torch.cat(inner, -1), (0, spare))
            outer = sum(y @ block[0] for y, block in zip(coming, blocks, strict=True))
        outer = outer + inner @ down if ctx.needs_input_grad[0] else None
        return outer, inner.flatten(0, -2).T @ x, None, None, None, None, *ups


class WideLayer(torch.nn.Module):
    """Layers that get one and the same input, and their adapters; the layers' frozen weights move into it.

    down: A's below each other, (columns, width) with columns a multiple of `COLUMNS` and the last rows zero; weight:
    W's below each other and s B's beside them, (all outputs, width + columns). Both are in the layers' precision;
    `downs` and `ups` are the parts that each layer's A and s B go to.
    """

    def __init__(self, layers: list[LeanLoraLinear]) -> None:
        super().__init__()
        bases = [layer.base_layer for layer in layers]
        self.outs = outs = [base.out_features for base in bases]
        self.ranks = ranks = [layer.r[layer.active_adapters[0]] for layer in layers]
        width = bases[0].in_features
        more = -(-sum(ranks) // COLUMNS) * COLUMNS
        like = {"dtype": bases[0].weight.dtype, "device": bases[0].weight.device}
        self.weight = torch.nn.Parameter(torch.zeros(sum(outs), width + more, **like), requires_grad=False)
        self.down = torch.nn.Parameter(torch.zeros(more, width, **like))
        self.bias = None
        if any(base.bias is not None for base in bases):
            biases = [torch.zeros(base.out_features, **like) if base.bias is None else base.bias for base in bases]
            self.bias = torch.nn.Parameter(torch.cat(biases).detach(), requires_grad=False)
        self.downs, self.ups = self.of_each(self.down.detach()), []
        for base, block, last, rank in zip(
            bases, self.weight.detach().split(outs), accumulate(ranks, initial=width), ranks, strict=False
        ):
            block[:, :width].copy_(base.weight)
            base.weight.data = block[:, :width]
            self.ups.append(block[:, last : last + rank].requires_grad_())
        self._input, self._wanted = None, 0
        self._made: tuple[torch.Tensor, ...] = ()

    def of_each(self, down: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Each layer's rows of what is shaped as `down`."""
        return down.split([*self.ranks, len(down) - sum(self.ranks)])[:-1]

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
