"""Compiled layers that give transformers' own bits.

A compiled kernel that fuses several steps rounds less often than transformers' separate kernels, and adds up a row in
another order. One bit that differs in bfloat16 grows through the layers of a 7B model to the distance of two
independent roundings: 5 % of its letters' logits with random weights, twice what another batch size does. So every
step is rounded as if it stood alone, no product is padded (its kernel would be another), norms are operations of their
own (see `kernels.rms_norm`), and layers with GELU by the error function, which the compiler's kernels compute otherwise
(0.6 % of elements), are not compiled. Layers are then transformers' to the bit (benchmarks/divergence_by_layer.py);
what is left is what a batch's size changes too (benchmarks/agreement.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from transformers.activations import GELUActivation

from synesthesia.acceleration.kernels.rms_norm import patch_norms
from synesthesia.acceleration.padded_mlp import pad_mlp

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel

BITWISE_OPTIONS = {"emulate_precision_casts": True, "shape_padding": False}  # for torch.compile


def compile_model(model: LanguageModel) -> None:
    """Let the layers of a model be compiled at their first use, in place (a minute or two, once per kind of layer).

    Args:
        model: A model; `acceleration.fused_kernels` says whether norms become operations of their own.
    """
    blocks = getattr(model.vision_encoder, "blocks", [])
    if blocks and hasattr(blocks[0].mlp, "gate_proj"):
        pad_mlp(blocks)
    compile_layers(model.layers(), fuse_norms=model.acceleration.fused_kernels)
    model.is_compiled = True


def compile_layers(layers: Iterable[torch.nn.Module], *, fuse_norms: bool = True, **options: object) -> None:
    """Let layers be compiled at their first use, in place, with eager's rounding.

    Args:
        layers: Layers of a decoder or an encoder; those with a GELU by the error function are left out.
        fuse_norms: Patch their norms first, which eager's bits need.
        **options: Options of the inductor backend on top of `BITWISE_OPTIONS`.
    """
    for layer in layers:
        if any(isinstance(module, GELUActivation) for module in layer.modules()):
            continue
        if fuse_norms:
            patch_norms(layer)
        layer.compile(dynamic=True, options={**BITWISE_OPTIONS, **options})
