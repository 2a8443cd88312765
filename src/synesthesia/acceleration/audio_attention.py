"""Attention of Qwen2-Audio's encoder with less around it.

Heads are handed to attention where the projections left them: transformers copies queries, keys, values and what comes
out, 2 % of answering on a GPU. There queries, keys and values are one product: of eight clips each alone is one round
of the GPU's blocks and a fifth (0.7 % of learning); and queries are scaled within attention, by a power of two in both.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from synesthesia.acceleration.patching import patch_class


def patch_attention(attention: torch.nn.Module) -> None:
    """Let a Qwen2AudioAttention (transformers 5.17) compute so, in place; it stays on the device where it is."""
    if attention.q_proj.weight.is_cuda:
        fuse_qkv(attention)
    else:
        attention._shape = partial(_split_heads, attention.num_heads)


def _split_heads(num_heads: int, hidden_states: torch.Tensor, seq_len: int, batch_size: int) -> torch.Tensor:
    """As Qwen2AudioAttention._shape, a view: (clips, length, width) -> (clips, heads, length, size)."""
    return hidden_states.view(batch_size, -1, num_heads, hidden_states.shape[-1] // num_heads).transpose(1, 2)


class FusedQKVAttention(torch.nn.Module):
    """Mixed into Qwen2AudioAttention: torch's attention, after one product of `together`."""

    qkv: tuple[torch.Tensor, torch.Tensor]

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: object
    ) -> tuple[torch.Tensor, None]:
        clips, length, _ = hidden_states.shape
        made = F.linear(hidden_states, *self.qkv).view(clips, length, 3, self.num_heads, -1).transpose(1, 3)
        out = F.scaled_dot_product_attention(*made.unbind(2), attn_mask=attention_mask, scale=self.scaling)
        return self.out_proj(out.transpose(1, 2).reshape(clips, length, -1)), None


def fuse_qkv(attention: torch.nn.Module) -> None:
    """Let a frozen attention make queries, keys and values at once, in place; its weights move, and stay its own."""
    parts = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat([part.weight.data for part in parts])
    bias = torch.cat([torch.zeros_like(part.weight[:, 0]) if part.bias is None else part.bias.data for part in parts])
    for part, *moved in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight.data = moved[0]
        if part.bias is not None:
            part.bias.data = moved[1]
    attention.together = weight, bias
    patch_class(FusedQKVAttention, attention)
