"""Attention of Qwen2-Audio's encoder without copies of heads, and with q, k and v as one GEMM on a GPU.

transformers copies queries, keys, values and the output between layouts, 2 % of answering on a GPU; here heads are
views of the projections. On a GPU queries, keys and values are one product: for eight clips each alone fills the GPU's
blocks one and a fifth times (0.7 % of training); and queries are scaled within attention, by a power of two in both.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from synesthesia.acceleration.patching import patch_class


def patch_attention(attention: Any) -> None:
    """Patch a Qwen2AudioAttention (transformers 5.17) in place, for the device where it is."""
    if attention.q_proj.weight.is_cuda:
        fuse_qkv(attention)
    else:
        attention._shape = partial(_split_heads, attention.num_heads)


def _split_heads(num_heads: int, hidden_states: torch.Tensor, seq_len: int, batch_size: int) -> torch.Tensor:
    """Qwen2AudioAttention._shape as a view: (clips, length, width) -> (clips, heads, length, head size)."""
    return hidden_states.view(batch_size, -1, num_heads, hidden_states.shape[-1] // num_heads).transpose(1, 2)


class FusedQKVAttention(torch.nn.Module):
    """Mixin of Qwen2AudioAttention: torch's attention after one product with the stacked weights `qkv`."""

    qkv: tuple[torch.Tensor, torch.Tensor]
    num_heads: int
    scaling: float
    out_proj: torch.nn.Linear

    def forward(  # noqa: D102
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
    ) -> tuple[torch.Tensor, None]:
        clips, length, _width = hidden_states.shape
        projected = F.linear(hidden_states, *self.qkv).view(clips, length, 3, self.num_heads, -1).transpose(1, 3)
        out = F.scaled_dot_product_attention(*projected.unbind(2), attn_mask=attention_mask, scale=self.scaling)
        return self.out_proj(out.transpose(1, 2).reshape(clips, length, -1)), None


def fuse_qkv(attention: Any) -> None:
    """Stack the q, k and v weights of a frozen attention, in place; each projection's weight becomes a view."""
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat([p.weight.data for p in projections])
    bias = torch.cat([torch.zeros_like(p.weight[:, 0]) if p.bias is None else p.bias.data for p in projections])
    for projection, weight_view, bias_view in zip(projections, weight.chunk(3), bias.chunk(3), strict=True):
        projection.weight.data = weight_view
        if projection.bias is not None:
            projection.bias.data = bias_view
    attention.qkv = weight, bias
    patch_class(FusedQKVAttention, attention)
