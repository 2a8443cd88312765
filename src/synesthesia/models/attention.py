"""Attention within chunks, as one call.

The encoders of Qwen2-VL and Qwen2.5-Omni attend within chunks (a pair of frames, a window of audio). Outside of the
flash-attention package transformers runs one attention call a chunk, which for miniatures, and for any batch of equal
frames, is nearly all overhead. Registered under a name that contains "flash", this function is handed the chunks'
boundaries instead, and chunks of one length become a batch. Where lengths differ (windows at a frame's edge), torch's
attention for sequences of any length takes them all on a GPU in half precision; elsewhere it is one call a length.
Same numbers either way (tests/models/test_attention.py). The boundaries are best kept on the CPU: read off the GPU
they would make it wait in every layer. Compiled layers meet the whole as one operation, since its shapes follow from
values.
"""

from __future__ import annotations

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from synesthesia.models.device import send

NAME = "chunked_flash"


def chunked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Bidirectional attention within chunks.

    query, key, value: (1, heads, length, head size); cu_seq_lens_q: (chunks + 1,) boundaries from 0 to length.
    Returns (1, length, heads, head size) and None (no attention weights).
    """
    if torch.compiler.is_compiling():
        return torch.ops.synesthesia.chunked_attention(query, key, value, cu_seq_lens_q, scaling), None
    return _attend(query, key, value, cu_seq_lens_q, scaling, dropout), None


def _attend(query, key, value, boundaries, scaling: float | None, dropout: float) -> torch.Tensor:
    lengths = (boundaries[1:] - boundaries[:-1]).tolist()
    attend = torch.nn.functional.scaled_dot_product_attention
    if len(set(lengths)) == 1:
        _, heads, length, size = query.shape
        batch = [t[0].unflatten(1, (len(lengths), lengths[0])).transpose(0, 1) for t in (query, key, value)]
        out = attend(*batch, dropout_p=dropout, scale=scaling)  # (chunks, heads, chunk, head size)
        return out.transpose(1, 2).reshape(1, length, heads, size)
    if _takes_any_length(query) and not dropout:
        packed = [t[0].transpose(0, 1) for t in (query, key, value)]  # (length, heads, head size)
        ends, longest = send(boundaries, query.device), max(lengths)
        return varlen_attn(*packed, ends, ends, longest, longest, scale=scaling)[None]
    starts = boundaries[:-1].tolist()
    out = torch.empty_like(query)
    for chunk in sorted(set(lengths)):  # a call a length instead of a call a chunk
        places = [range(s, s + chunk) for s, n in zip(starts, lengths, strict=True) if n == chunk]
        index = torch.tensor([list(p) for p in places], device=query.device)  # (chunks, chunk)
        batch = [t[0].transpose(0, 1)[index].transpose(1, 2) for t in (query, key, value)]
        done = attend(*batch, dropout_p=dropout, scale=scaling)  # (chunks, heads, chunk, head size)
        out[0, :, index.flatten()] = done.transpose(1, 2).flatten(0, 1).transpose(0, 1)
    return out.transpose(1, 2).contiguous()


def _takes_any_length(query: torch.Tensor) -> bool:
    """Whether torch's attention for sequences of any length, which is flash attention, runs here: from Ampere on."""
    half = query.dtype in (torch.float16, torch.bfloat16)
    return half and query.is_cuda and torch.cuda.get_device_capability(query.device) >= (8, 0)


@torch.library.custom_op("synesthesia::chunked_attention", mutates_args=())
def _chunked_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, boundaries: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """For compiled encoders, which are frozen: no gradient, no dropout."""
    return _attend(query, key, value, boundaries, scaling, 0.0)


@_chunked_attention.register_fake
def _(query, key, value, boundaries, scaling):
    _, heads, length, size = query.shape
    return query.new_empty(1, length, heads, size)


AttentionInterface.register(NAME, chunked_attention)


def use_chunked_attention(*encoders: torch.nn.Module) -> None:
    """Let these encoders, already built, attend through `chunked_attention`."""
    for encoder in encoders:
        for module in encoder.modules():
            if hasattr(module, "config"):
                module.config._attn_implementation_internal = NAME
