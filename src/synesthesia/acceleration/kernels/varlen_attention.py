"""Attention within chunks of a sequence, batched by chunk length.

The encoders of Qwen2-VL and Qwen2.5-Omni attend within chunks (a pair of frames, a window of audio). Outside of the
flash-attention package transformers runs one attention call per chunk, which for tiny models, and for any batch of
equal frames, is nearly all overhead. Registered under a name that contains "flash", this function gets the chunks'
boundaries instead, and chunks of one length become a batch: one call per length. The numbers are the same
(tests/unit/acceleration/kernels/test_varlen_attention.py). torch's variable-length attention would take all chunks in
one call, but its kernels give other bits than transformers' (see `compile`). Keep the boundaries on the CPU: reading
them off the GPU would synchronize in every layer. Compiled layers see one opaque operation, since its shapes follow
from values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

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
    """Compute bidirectional attention within chunks; an attention function of transformers' `AttentionInterface`.

    Args:
        module: The attention layer; unused.
        query: (1, heads, length, head size).
        key: Like query.
        value: Like query.
        attention_mask: Unused: chunks are given by their boundaries.
        scaling: Factor of the scores; None is 1 / sqrt(head size).
        dropout: Probability of dropout.
        cu_seq_lens_q: int (chunks + 1,), boundaries from 0 to length.

    Returns:
        The output (1, length, heads, head size), and None (no attention weights).
    """
    if torch.compiler.is_compiling():
        return torch.ops.synesthesia.chunked_attention(query, key, value, cu_seq_lens_q, scaling), None
    return _varlen_sdpa(query, key, value, cu_seq_lens_q, scaling, dropout), None


def _varlen_sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scaling: float | None,
    dropout: float,
) -> torch.Tensor:
    lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
    _, heads, length, size = query.shape

    def attend(*batch: torch.Tensor) -> torch.Tensor:
        """(chunks, heads, chunk, head size) -> (chunks * chunk, heads, head size)."""
        output = torch.nn.functional.scaled_dot_product_attention(*batch, dropout_p=dropout, scale=scaling)
        return output.transpose(1, 2).reshape(-1, heads, size)

    if len(set(lengths)) == 1:
        shape = (len(lengths), lengths[0])
        return attend(*(t[0].unflatten(1, shape).transpose(0, 1) for t in (query, key, value)))[None]
    out = query.new_empty(length, heads, size)
    for chunk, positions in _group_by_length(tuple(lengths), query.device):
        batch = [t[0].transpose(0, 1)[positions].unflatten(0, (-1, chunk)).transpose(1, 2) for t in (query, key, value)]
        out[positions] = attend(*batch)
    return out[None]


@lru_cache(maxsize=4)
def _group_by_length(lengths: tuple[int, ...], device: torch.device) -> list[tuple[int, torch.Tensor]]:
    """Group positions int64 by the length of their chunk; cached, since all layers of an encoder share them."""
    with torch.inference_mode(False):  # cached, and perhaps used where gradients are needed
        sizes = torch.tensor(lengths)
        chunk_length = sizes.repeat_interleave(sizes)  # of each position
        return [(chunk, to_device((chunk_length == chunk).nonzero()[:, 0], device)) for chunk in sorted(set(lengths))]


@torch.library.custom_op("synesthesia::chunked_attention", mutates_args=())
def _varlen_attention_op(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Run `_varlen_sdpa` in compiled encoders, which are frozen: no gradient, no dropout."""
    return _varlen_sdpa(query, key, value, cu_seqlens, scaling, 0.0)


@_varlen_attention_op.register_fake
def _varlen_attention_fake(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seqlens: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    _, heads, length, size = query.shape
    return query.new_empty(1, length, heads, size)


AttentionInterface.register(ATTENTION_NAME, varlen_attention)


def patch_varlen_attention(*encoders: Any) -> None:
    """Let encoders attend through `varlen_attention`, in place."""
    for encoder in encoders:
        for module in encoder.modules():
            if hasattr(module, "config"):
                module.config._attn_implementation_internal = ATTENTION_NAME
