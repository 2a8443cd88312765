"""Causal attention in learning, forward by cuDNN's kernel and back by flash attention's.

Torch's deterministic algorithms, which make a resumed training equal to one that was never stopped, exclude cuDNN's
attention: its gradients add up in any order (of 300 times the same 480 tokens, 2 gave other bits). Forward it has one
order, and takes half the time of flash attention (Hopper; 38 and 81 microseconds a layer of eight clips of sound).
Flash attention's way back has an order, and takes what cuDNN's way there leaves: the output and the logarithm of each
row's sum.
"""

from __future__ import annotations

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION_NAME = "ordered_sdpa"
MIN_CAPABILITY = (9, 0)  # compute capability; whether cuDNN's kernel is the faster one was measured on no older GPU


@torch.library.custom_op("synesthesia::causal_attention", mutates_args=(), device_types="cuda")
def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention without dropout, in bfloat16 or float16.

    query: (clips, heads, length, head size); key, value: the same, or fewer heads that divide them. Returns (clips,
    length, heads, head size), contiguous, and each row's logarithm of summed exponentials, float32 (clips, heads,
    length).
    """
    out, sums, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, True, 0.0, True, False, scale=scaling
    )
    return out.transpose(1, 2).contiguous(), sums.reshape(query.shape[:3])


@causal_attention.register_fake
def _(query, key, value, scaling):
    clips, heads, length, size = query.shape
    return query.new_empty(clips, length, heads, size), query.new_empty(clips, heads, length, dtype=torch.float32)


@torch.library.custom_op("synesthesia::causal_attention_gradients", mutates_args=(), device_types="cuda")
def causal_attention_backward(
    grad_output: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value, each (clips, length, heads, head size) and contiguous."""
    unused = torch.zeros((), dtype=torch.int64)  # the random state of dropout
    made = torch.ops.aten._scaled_dot_product_flash_attention_backward(
        grad_output.transpose(1, 2), query, key, value, out.transpose(1, 2), logsumexp, None, None,
        query.shape[2], key.shape[2], 0.0, True, unused, unused, scale=scaling,
    )  # fmt: skip
    return tuple(gradient.transpose(1, 2).contiguous() for gradient in made)


@causal_attention_backward.register_fake
def _(coming, query, key, value, out, sums, scaling):
    return tuple(t.new_empty(t.shape[0], t.shape[2], t.shape[1], t.shape[3]) for t in (query, key, value))


def _setup_context(ctx, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    query, key, value, ctx.scaling = inputs
    ctx.save_for_backward(query, key, value, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_output: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    made = causal_attention_backward(grad_output.contiguous(), *ctx.saved_tensors, ctx.scaling)
    return *(gradient.transpose(1, 2) for gradient in made), None


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
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """What a layer's attention is in transformers: plain causal attention in learning as above, the rest as sdpa."""
    learns = module.training and torch.is_grad_enabled() and query.dtype.itemsize == 2
    causal = attention_mask is None and is_causal is not False and query.shape[2] == key.shape[2]
    if not (learns and causal and not dropout and scaling):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
    return causal_attention(query, key, value, scaling)[0], None


AttentionInterface.register(ATTENTION_NAME, deterministic_attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def is_supported(device: str | torch.device) -> bool:
    """Whether learning on this device is faster so."""
    device = torch.device(device)
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= MIN_CAPABILITY


def patch_causal_attention(decoder: torch.nn.Module) -> None:
    """Let the layers of a language model attend so, in place; where it `helps`."""
    for layer in decoder.layers:
        layer.self_attn.config._attn_implementation = ATTENTION_NAME
