"""Vision encoders of the Qwen family: patch embedding as one matrix product, and sizes that are read off the CPU.

Qwen's families embed patches with a 3-D convolution whose stride equals its kernel, over inputs that are already cut
into patches: every output is one dot product. Convolution libraries run it as a general convolution, many times slower.
Same weights, same numbers but for the order of additions. On a GPU, where it would be 1 % of the time, the convolution
stays: the order of additions makes 0.06 % of elements differ by a bit in bfloat16 (see rounding).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

from synesthesia.models.device import send
from synesthesia.models.rounding import mixed


def embed_patches_by_product(encoder: torch.nn.Module) -> None:
    """Replace the forward of `encoder.patch_embed` in place, where it is on a CPU."""
    embed = encoder.patch_embed
    if embed.proj.weight.is_cuda:
        return

    def forward(patches: torch.Tensor) -> torch.Tensor:
        """(patches, channels * time * height * width) -> (patches, width)."""
        weight = embed.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward


class WideFeedForward(torch.nn.Module):
    """Mixed into a gated feed-forward network (Qwen2_5_VLMLP and Qwen2_5OmniMLP, transformers 5.17)."""

    def forward(self, hidden_state: torch.Tensor) -> torch.Tensor:
        wide = self.act_fn(self.gate_proj(hidden_state)) * self.up_proj(hidden_state)
        return self.down_proj(wide[..., : self.down_proj.in_features])


def widen_feed_forward(blocks: Iterable[torch.nn.Module], multiple: int = 64) -> None:
    """Give frozen gated feed-forward networks (`mlp`) more columns inside, left out again before the way out; in place.

    Qwen2.5's vision encoders are 3,420 wide there, which 8 does not divide: their products take kernels three times as
    slow. The two into that width give the same bits with 3,456 columns; the one out of it would add up in another order
    (0.02 % of elements), hence stays as it is, at 8 % of answering.
    """
    for block in blocks:
        for linear in (block.mlp.gate_proj, block.mlp.up_proj):
            more = -linear.out_features % multiple
            linear.weight = torch.nn.Parameter(F.pad(linear.weight.data, (0, 0, 0, more)), requires_grad=False)
            linear.bias = torch.nn.Parameter(F.pad(linear.bias.data, (0, more)), requires_grad=False)
            linear.out_features += more
        block.mlp.__class__ = mixed(WideFeedForward, type(block.mlp))


def place_patches_from_cpu(encoder: torch.nn.Module) -> None:
    """Work out places, chunks and windows of the patches where `grid_thw` lies.

    Kept on the CPU, sizes are there without waiting for the GPU, in every layer of `chunked_attention` too.
    """

    def before(_encoder, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        device = next(encoder.parameters()).device
        grid = named["grid_thw"] if "grid_thw" in named else arguments[1]
        merged = named.get("merge_sizes", getattr(encoder, "spatial_merge_size", None))
        places = get_vision_position_ids(grid, merged)
        made = {"position_ids": send(places, device), "cu_seqlens": get_vision_cu_seqlens(grid)}
        if hasattr(encoder, "window_size"):
            sizes = encoder.spatial_merge_size, encoder.window_size, encoder.patch_size
            order, made["cu_window_seqlens"] = get_vision_window_index(grid, *sizes)
            made["window_index"] = send(order, device)
        return arguments, {**made, **named}

    encoder.register_forward_pre_hook(before, with_kwargs=True)
