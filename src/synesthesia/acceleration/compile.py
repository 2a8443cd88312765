"""Compiled layers that give transformers' own bits.

A compiled kernel that does several steps at once rounds less often than transformers' separate kernels, and adds up a
row in another order. One bit that differs in bfloat16 grows through the layers of a 7B model to the distance of two
independent roundings: 5 % of its letters' logits with random weights, twice what another batch size does. So every
step is rounded as if it stood alone, no product is padded (its kernel would be another), normalisations are operations
of their own (see norms), and layers with GELU by the error function, which the compiler's kernels compute otherwise
(0.6 % of elements), are not compiled. Layers are then transformers' to the bit (benchmarks/parting.py); what is left
is what a batch's size changes too (benchmarks/agreement.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers.activations import GELUActivation

from synesthesia.acceleration.kernels.rms_norm import patch_norms

BITWISE_OPTIONS = {"emulate_precision_casts": True, "shape_padding": False}  # for torch.compile


def compile_layers(layers: Iterable[torch.nn.Module], **options: object) -> None:
    """Let layers be compiled at their first use, in place, and round as before; `options` of the compiler go on top."""
    for layer in layers:
        if any(isinstance(module, GELUActivation) for module in layer.modules()):
            continue
        patch_norms(layer)
        layer.compile(dynamic=True, options={**BITWISE_OPTIONS, **options})
