"""Deterministic causal attention for training: cuDNN's kernel forward, flash attention's backward.

torch's deterministic algorithms, which make a resumed training equal to one that was never stopped, exclude cuDNN's
attention: its gradients add up in any order (of 300 runs on the same 480 tokens, 2 gave other bits). Its forward pass
has one order and takes half the time of flash attention (Hopper; 38 and 81 microseconds per layer for eight audio
clips). Flash attention's backward pass has one order, and takes what cuDNN's forward pass leaves: the output and the
log-sum-exp of each row.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION_NAME = "deterministic_sdpa"
MIN_CAPABILITY = (9, 0)  # compute capability; whether cuDNN's kernel is faster was measured on no older GPU


@torch.library.custom_op("synesthesia::causal_attention", mutates_args=(), device_types="cuda")
def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute causal attention without dropout.

    Args:
        query: bfloat16 or float16 (clips, heads, length, head size).
        key: Like query, or with fewer heads that divide its heads.
        value: Like key.
        scaling: Factor of the scores.

    Returns:
        The output (clips, length, heads, head size), contiguous, and the log-sum-exp of each row, float32 (clips,
        heads, length).
    """
    out, logsumexp, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, True, 0.0, True, False, scale=scaling
    )
    return out.transpose(1, 2).contiguous(), logsumexp.reshape(query.shape[:3])


@causal_attention.register_fake
def _causal_attention_fake(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    clips, heads, length, size = query.shape
    return query.new_empty(clips, length, heads, size), query.new_empty(clips, heads, length, dtype=torch.float32)


@torch.library.custom_op("synesthesia::causal_attention_backward", mutates_args=(), device_types="cuda")
def causal_attention_backward(
    grad_output: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the gradients of `causal_attention`.

    Args:
        grad_output: Gradient of the output, (clips, length, heads, head size).
        query: As in `causal_attention`.
        key: As in `causal_attention`.
        value: As in `causal_attention`.
        out: Its output.
        logsumexp: Its log-sum-exp.
        scaling: As in `causal_attention`.

    Returns:
        Gradients of query, key and value, each (clips, length, heads, head size) and contiguous.
    """
    unused = torch.zeros((), dtype=torch.int64)  # the random state of dropout
    gradients = torch.ops.aten._scaled_dot_product_flash_attention_backward(
        grad_output.transpose(1, 2), query, key, value, out.transpose(1, 2), logsumexp, None, None,
        query.shape[2], key.shape[2], 0.0, True, unused, unused, scale=scaling,
    )  # fmt: skip
    grad_query, grad_key, grad_value = (gradient.transpose(1, 2).contiguous() for gradient in gradients)
    return grad_query, grad_key, grad_value


@causal_attention_backward.register_fake
def _causal_attention_backward_fake(
    grad_output: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, ...]:
    return tuple(t.new_empty(t.shape[0], t.shape[2], t.shape[1], t.shape[3]) for t in (query, key, value))


def _setup_context(ctx: Any, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    query, key, value, ctx.scaling = inputs
    ctx.save_for_backward(query, key, value, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_output: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    gradients = causal_attention_backward(grad_output.contiguous(), *ctx.saved_tensors, ctx.scaling)
    return *(gradient.transpose(1, 2) for gradient in gradients), None


causal_attention.register_autograd(_backward, setup_context=_setup_context)


def deterministic_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function in transformers' `AttentionInterface`: `causal_attention` in training, else SDPA.

    Args:
        module: The attention layer.
        query: (clips, heads, length, head size).
        key: (clips, key heads, length, head size).
        value: Like key.
        attention_mask: Mask added to the scores, or None.
        dropout: Probability of dropout.
        scaling: Factor of the scores.
        is_causal: False for bidirectional attention.
        **kwargs: Passed on to transformers' SDPA.

    Returns:
        The output (clips, length, heads, head size), and None (no attention weights).
    """
    is_training = module.training and torch.is_grad_enabled() and query.dtype.itemsize == 2
    causal = attention_mask is None and is_causal is not False and query.shape[2] == key.shape[2]
    if not (is_training and causal and not dropout and scaling):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    return causal_attention(query, key, value, scaling)[0], None


AttentionInterface.register(ATTENTION_NAME, deterministic_attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def is_supported(device: str | torch.device) -> bool:
    """Return whether this device has the kernels and training on it is faster with them."""
    device = torch.device(device)
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= MIN_CAPABILITY


def patch_causal_attention(decoder: Any) -> None:
    """Let the layers of a decoder attend through `deterministic_attention_forward`, in place."""
    for layer in decoder.layers:
        layer.self_attn.config._attn_implementation = ATTENTION_NAME
