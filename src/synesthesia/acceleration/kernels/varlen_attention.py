"""Attention within chunks, as one call.

The encoders of Qwen2-VL and Qwen2.5-Omni attend within chunks (a pair of frames, a window of audio). Outside of the
flash-attention package transformers runs one attention call a chunk, which for miniatures, and for any batch of equal
frames, is nearly all overhead. Registered under a name that contains "flash", this function is handed the chunks'
boundaries instead, and chunks of one length become a batch: one call a length. Same numbers
(tests/unit/acceleration/kernels/test_varlen_attention.py). torch's attention for sequences of any length would take all in one call, but its
kernels give other bits than transformers' (see rounding). The boundaries are best kept on the CPU: read off the GPU
they would make it wait in every layer. Compiled layers meet the whole as one operation, since its shapes follow from
values.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from transformers import AttentionInterface

from synesthesia.utils.device import to_device

ATTENTION_NAME = "chunked_flash"


def varlen_attention(
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
    return _varlen_sdpa(query, key, value, cu_seq_lens_q, scaling, dropout), None


def _varlen_sdpa(query, key, value, cu_seqlens, scaling: float | None, dropout: float) -> torch.Tensor:
    lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
    _, heads, length, size = query.shape

    def attend(*batch: torch.Tensor) -> torch.Tensor:
        """(chunks, heads, chunk, head size) in, (chunks * chunk, heads, head size) out."""
        done = torch.nn.functional.scaled_dot_product_attention(*batch, dropout_p=dropout, scale=scaling)
        return done.transpose(1, 2).reshape(-1, heads, size)

    if len(set(lengths)) == 1:
        shape = (len(lengths), lengths[0])
        return attend(*(t[0].unflatten(1, shape).transpose(0, 1) for t in (query, key, value)))[None]
    out = query.new_empty(length, heads, size)
    for chunk, places in _group_by_length(tuple(lengths), query.device):
        batch = [t[0].transpose(0, 1)[places].unflatten(0, (-1, chunk)).transpose(1, 2) for t in (query, key, value)]
        out[places] = attend(*batch)
    return out[None]


@lru_cache(maxsize=4)
def _group_by_length(lengths: tuple[int, ...], device: torch.device) -> list[tuple[int, torch.Tensor]]:
    """Of each length of chunk the places int64 of all chunks that have it; the same in all layers of an encoder."""
    with torch.inference_mode(False):  # kept, and perhaps used where gradients are wanted
        sizes = torch.tensor(lengths)
        whose = sizes.repeat_interleave(sizes)  # each place's own chunk is so long
        return [(chunk, to_device((whose == chunk).nonzero()[:, 0], device)) for chunk in sorted(set(lengths))]


@torch.library.custom_op("synesthesia::chunked_attention", mutates_args=())
def _varlen_attention_op(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """For compiled encoders, which are frozen: no gradient, no dropout."""
    return _varlen_sdpa(query, key, value, cu_seqlens, scaling, 0.0)


@_varlen_attention_op.register_fake
def _(query, key, value, boundaries, scaling):
    _, heads, length, size = query.shape
    return query.new_empty(1, length, heads, size)


AttentionInterface.register(ATTENTION_NAME, varlen_attention)


def patch_varlen_attention(*encoders: torch.nn.Module) -> None:
    """Let these encoders, already built, attend through `chunked_attention`."""
    for encoder in encoders:
        for module in encoder.modules():
            if hasattr(module, "config"):
                module.config._attn_implementation_internal = ATTENTION_NAME
