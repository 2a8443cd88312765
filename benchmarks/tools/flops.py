"""Work that torch is asked for, counted (FlopCounterMode: matrix products, convolutions, attention)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from synesthesia.acceleration.kernels import (
    causal_attention,  # noqa: F401  (their operations are counted)
    lora_swiglu,  # noqa: F401
)


def _attention(query, key, value, *_, **__) -> int:
    """FLOP of attention forward: two products; torch's own formula refuses grouped queries."""
    clips, heads, asking, size = query
    return 4 * clips * heads * asking * key[2] * size


def _attention_backward(_, query, key, value, *__, **___) -> int:
    return 5 * _attention(query, key, value) // 2


def _gated(gate, _up, inner, *_, **__) -> int:
    """Both products with B."""
    return 4 * math.prod(gate) * inner[-1]


OWN = {
    getattr(torch.ops.aten, name): formula
    for suffix, formula in (("", _attention), ("_backward", _attention_backward))
    for name in (f"_scaled_dot_product_{kind}_attention{suffix}" for kind in ("flash", "efficient", "cudnn"))
}
OWN[torch.ops.synesthesia.lora_swiglu] = _gated
OWN[torch.ops.synesthesia.causal_attention] = _attention
OWN[torch.ops.synesthesia.causal_attention_backward] = _attention_backward


def flops(work: Callable[[], object]) -> float:
    """TFLOP of `work`, by the operations that torch is asked for (matrix products, convolutions, attention)."""
    with FlopCounterMode(display=False, custom_mapping=OWN) as counter:
        work()
    return counter.get_total_flops() / 1e12
