"""FLOP count of a computation by torch's FlopCounterMode (matrix products, convolutions, attention)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from synesthesia.acceleration.kernels import causal_attention, lora_swiglu  # noqa: F401  (register custom operations)


def _attention_flop(query, key, value, *_, **__) -> int:
    """FLOP of attention, forward: two products. torch's own formula rejects grouped queries."""
    batch, heads, length, head_dim = query
    return 4 * batch * heads * length * key[2] * head_dim


def _attention_backward_flop(_, query, key, value, *__, **___) -> int:
    return 5 * _attention_flop(query, key, value) // 2


def _lora_swiglu_flop(gate, _up, lora_hidden, *_, **__) -> int:
    """FLOP of both products with B."""
    return 4 * math.prod(gate) * lora_hidden[-1]


FLOP_FORMULAS = {
    getattr(torch.ops.aten, name): formula
    for suffix, formula in (("", _attention_flop), ("_backward", _attention_backward_flop))
    for name in (f"_scaled_dot_product_{kind}_attention{suffix}" for kind in ("flash", "efficient", "cudnn"))
}
FLOP_FORMULAS[torch.ops.synesthesia.lora_swiglu] = _lora_swiglu_flop
FLOP_FORMULAS[torch.ops.synesthesia.causal_attention] = _attention_flop
FLOP_FORMULAS[torch.ops.synesthesia.causal_attention_backward] = _attention_backward_flop


def count_tflop(work: Callable[[], object]) -> float:
    """Run `work` and count its operations in units of 10^12 floating-point operations."""
    with FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        work()
    return counter.get_total_flops() / 1e12
