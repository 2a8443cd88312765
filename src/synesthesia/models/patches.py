"""Patch embedding as one matrix product.

Qwen2-VL and Qwen2.5-Omni embed patches with a 3-D convolution whose stride equals its kernel, over inputs that are
already cut into patches: every output is one dot product. Convolution libraries run it as a general convolution, many
times slower. Same weights, same numbers but for the order of additions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def embed_patches_by_product(encoder: torch.nn.Module) -> None:
    """Replace the forward of `encoder.patch_embed` in place."""
    embed = encoder.patch_embed

    def forward(patches: torch.Tensor) -> torch.Tensor:
        """(patches, channels * time * height * width) -> (patches, width)."""
        weight = embed.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward
