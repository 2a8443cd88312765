"""Feed-forward networks of a width that 8 does not divide: faster, with the same bits.

Products whose width 8 does not divide take kernels three times as slow. Padded with zeros the numbers are the same, but
a product that sums over the padded width takes a kernel that adds up in another order (see rounding).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from synesthesia.acceleration.patching import patch_class


class PaddedMLP(torch.nn.Module):
    """Mixed into a gated feed-forward network (Qwen2_5_VLMLP and Qwen2_5OmniMLP, transformers 5.17)."""

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        wide = self.act_fn(self.gate_proj(hidden_state)) * self.up_proj(hidden_state)
        return self.down_proj(wide[..., : self.down_proj.in_features])


def pad_mlp(blocks: Iterable[torch.nn.Module], multiple: int = 64) -> None:
    """Give frozen gated feed-forward networks (`mlp`) more columns inside, left out again before the way out; in place.

    Qwen2.5's vision encoders are 3,420 wide there. The two products into that width give the same bits with 3,456
    columns; the one out of it would not (0.02 % of elements), hence stays as it is, at 8 % of answering.
    """
    for block in blocks:
        for linear in (block.mlp.gate_proj, block.mlp.up_proj):
            more = -linear.out_features % multiple
            linear.weight = torch.nn.Parameter(F.pad(linear.weight.data, (0, 0, 0, more)), requires_grad=False)
            linear.bias = torch.nn.Parameter(F.pad(linear.bias.data, (0, more)), requires_grad=False)
            linear.out_features += more
        patch_class(PaddedMLP, block.mlp)
