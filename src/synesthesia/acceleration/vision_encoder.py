"""Vision encoders: patch embedding as one matrix product, attention by chunk with sizes read on the CPU.

Qwen's families embed patches with a 3-D convolution whose stride equals its kernel, over inputs that are already cut
into patches: every output is one dot product. Convolution libraries run it as a general convolution, many times slower.
Same weights, same numbers but for the order of additions. On a GPU, where it would be 1 % of the time, the convolution
stays: the order of additions makes 0.06 % of elements differ by a bit in bfloat16 (see `compile`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

from synesthesia.acceleration.kernels.varlen_attention import patch_varlen_attention
from synesthesia.utils.device import to_device

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel


def patch_attention_by_chunk(model: LanguageModel) -> None:
    """Let encoders attend chunk by chunk, batched by length, and keep their sizes on the CPU, in place.

    Args:
        model: A model; `chunked_encoders` and `size_inputs` say what it has.
    """
    patch_varlen_attention(*model.chunked_encoders)
    if model.size_inputs:
        precompute_positions_on_cpu(model.vision_encoder)
        model.cpu_inputs = model.size_inputs


def patch_embed_as_linear(encoder: Any) -> None:
    """Replace the forward of `encoder.patch_embed` in place, where it is a 3-D convolution on a CPU."""
    embed = getattr(encoder, "patch_embed", None)
    if embed is None or not isinstance(getattr(embed, "proj", None), torch.nn.Conv3d) or embed.proj.weight.is_cuda:
        return

    def forward(patches: torch.Tensor) -> torch.Tensor:
        """(patches, channels * time * height * width) -> (patches, width)."""
        weight = embed.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward


def precompute_positions_on_cpu(encoder: Any) -> None:
    """Compute position ids, cu_seqlens and window indices where `grid_thw` is, in a hook before the encoder.

    With `grid_thw` on the CPU this avoids a device synchronization in every layer.
    """

    def before(_encoder: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        device = next(encoder.parameters()).device
        grid = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
        merge_size: Any = kwargs.get("merge_sizes", getattr(encoder, "spatial_merge_size", None))
        position_ids = get_vision_position_ids(grid, merge_size)
        computed = {"position_ids": to_device(position_ids, device), "cu_seqlens": get_vision_cu_seqlens(grid)}
        if hasattr(encoder, "window_size"):
            sizes = encoder.spatial_merge_size, encoder.window_size, encoder.patch_size
            window_index, computed["cu_window_seqlens"] = get_vision_window_index(grid, *sizes)
            computed["window_index"] = to_device(window_index, device)
        return args, {**computed, **kwargs}

    encoder.register_forward_pre_hook(before, with_kwargs=True)
