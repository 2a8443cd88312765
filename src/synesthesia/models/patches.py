"""Vision encoders of the Qwen family: patch embedding as one matrix product, and sizes that are read off the CPU.

Qwen2-VL and Qwen2.5-Omni embed patches with a 3-D convolution whose stride equals its kernel, over inputs that are
already cut into patches: every output is one dot product. Convolution libraries run it as a general convolution, many
times slower. Same weights, same numbers but for the order of additions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids

from synesthesia.models.device import send


def embed_patches_by_product(encoder: torch.nn.Module) -> None:
    """Replace the forward of `encoder.patch_embed` in place."""
    embed = encoder.patch_embed

    def forward(patches: torch.Tensor) -> torch.Tensor:
        """(patches, channels * time * height * width) -> (patches, width)."""
        weight = embed.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward


def place_patches_from_cpu(encoder: torch.nn.Module) -> None:
    """Work out places and chunks of the patches where `grid_thw` lies; kept on the CPU, no layer waits for the GPU."""

    def before(_encoder, arguments: tuple, named: dict) -> tuple[tuple, dict]:
        patches = arguments[0] if arguments else named["hidden_states"]
        grid = named["grid_thw"] if "grid_thw" in named else arguments[1]
        places = get_vision_position_ids(grid, encoder.spatial_merge_size)
        made = {"position_ids": send(places, patches.device), "cu_seqlens": get_vision_cu_seqlens(grid)}
        return arguments, {**made, **named}

    encoder.register_forward_pre_hook(before, with_kwargs=True)
