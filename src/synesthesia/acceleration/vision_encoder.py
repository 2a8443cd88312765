"""Vision encoders of the Qwen family: patch embedding as one matrix product, and sizes that are read off the CPU.

Qwen's families embed patches with a 3-D convolution whose stride equals its kernel, over inputs that are already cut
into patches: every output is one dot product. Convolution libraries run it as a general convolution, many times slower.
Same weights, same numbers but for the order of additions. On a GPU, where it would be 1 % of the time, the convolution
stays: the order of additions makes 0.06 % of elements differ by a bit in bfloat16 (see rounding).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

from synesthesia.utils.device import to_device


def patch_embed_as_linear(encoder: torch.nn.Module) -> None:
    """Replace the forward of `encoder.patch_embed` in place, where it is on a CPU."""
    embed = encoder.patch_embed
    if embed.proj.weight.is_cuda:
        return

    def forward(patches: torch.Tensor) -> torch.Tensor:
        """(patches, channels * time * height * width) -> (patches, width)."""
        weight = embed.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward


def precompute_positions_on_cpu(encoder: torch.nn.Module) -> None:
    """Work out places, chunks and windows of the patches where `grid_thw` lies.

    Kept on the CPU, sizes are there without waiting for the GPU, in every layer of `chunked_attention` too.
    """

    def before(_encoder, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        device = next(encoder.parameters()).device
        grid = named["grid_thw"] if "grid_thw" in named else arguments[1]
        merged = named.get("merge_sizes", getattr(encoder, "spatial_merge_size", None))
        places = get_vision_position_ids(grid, merged)
        made = {"position_ids": to_device(places, device), "cu_seqlens": get_vision_cu_seqlens(grid)}
        if hasattr(encoder, "window_size"):
            sizes = encoder.spatial_merge_size, encoder.window_size, encoder.patch_size
            order, made["cu_window_seqlens"] = get_vision_window_index(grid, *sizes)
            made["window_index"] = to_device(order, device)
        return arguments, {**made, **named}

    encoder.register_forward_pre_hook(before, with_kwargs=True)
