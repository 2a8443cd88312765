"""All LoRA weights of a model rounded, and given their gradients, together.

An adapter on every linear layer of a 7B model has some 450 small weights. Rounding them, and adding up their gradients,
one by one takes a thousand kernels of 2 microseconds per step on a GPU; `GroupedLoraWeights` does it in a few. Layers
that share an input also share one product with their stacked A matrices, forward and backward: a GPU is no busier with
48 columns than with 16, and a step of Qwen2-Audio has 500 kernels fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear

SHARED_INPUT_GROUPS = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
)  # in the decoder layers of all families

_foreach: Any = torch  # torch's multi-tensor operations (`_foreach_*`) are not exported to type checkers


class PerLayerWeights:
    """LoRA weights that each layer rounds for itself."""

    def refresh(self) -> None:
        """Prepare a forward pass: nothing to do."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a scalar loss to the `grad` of the weights."""
        loss.backward()


class StackedLoraA:
    """LoRA A matrices of layers that share an input, stacked so that one GEMM serves all (q/k/v, gate/up)."""

    def __init__(self, weights: list[torch.Tensor], dtype: torch.dtype) -> None:
        ranks = [len(weight) for weight in weights]
        shape = sum(ranks), weights[0].shape[1]
        self.weight = torch.empty(shape, dtype=dtype, device=weights[0].device, requires_grad=True)
        self.layer_slices = self.weight.detach().split(ranks)  # views to which the layers' weights are rounded
        self.ranks, self._num_pending = ranks, 0
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()

    def project(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """Compute A x of one layer: for all layers at the first call, released after the last.

        Args:
            x: The shared input, (..., width).
            index: The layer's position in the stack.

        Returns:
            (..., rank of the layer).
        """
        if self._input is not x:
            outputs = F.linear(x, self.weight).split(self.ranks, -1)
            self._input, self._outputs, self._num_pending = x, outputs, len(self.ranks)
        output = self._outputs[index]
        self._num_pending -= 1
        if not self._num_pending:
            self._input, self._outputs = None, ()
        return output


@dataclass
class LoraSlice:
    """What one layer computes with (`lora_linear.LoraCompute`): its slice of a stacked A, and s B."""

    stacked_lora_a: StackedLoraA
    index: int
    scaled_lora_b: torch.Tensor

    @property
    def lora_a(self) -> torch.Tensor:
        """A, (rank, width)."""
        return self.stacked_lora_a.weight.split(self.stacked_lora_a.ranks)[self.index]

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Compute A x."""
        return self.stacked_lora_a.project(x, self.index)


class GroupedLoraWeights(PerLayerWeights):
    """LoRA weights in the model's dtype, rounded and given their gradients together.

    The numbers are those of `PerLayerWeights`, except that gradients towards a shared input are added before rounding.
    """

    def __init__(self, layers: dict[str, MixedPrecisionLoraLinear]) -> None:
        """Allocate the rounded copies.

        Args:
            layers: All LoRA layers of the model, by their paths.
        """
        first: Any = next(iter(layers.values()))
        dtype = first.base_layer.weight.dtype
        self._lora_a: list[torch.nn.Parameter] = []
        self._lora_b: list[torch.nn.Parameter] = []
        self._scales: list[float] = []
        self._stacked_lora_a: list[StackedLoraA] = []
        self._layers: list[Any] = []
        self._slices: list[LoraSlice] = []
        for group in _group_by_input(layers):
            names = [layer.active_adapters[0] for layer in group]
            lora_a = [layer.lora_A[name].weight for layer, name in zip(group, names, strict=True)]
            lora_b = [layer.lora_B[name].weight for layer, name in zip(group, names, strict=True)]
            stacked = StackedLoraA(lora_a, dtype)
            self._slices += [
                LoraSlice(stacked, index, torch.empty_like(weight, dtype=dtype, requires_grad=True))
                for index, weight in enumerate(lora_b)
            ]
            self._stacked_lora_a.append(stacked)
            self._lora_a += lora_a
            self._lora_b += lora_b
            self._scales += [float(layer.scaling[name]) for layer, name in zip(group, names, strict=True)]
            self._layers += group
        self._weights = [*self._lora_a, *self._lora_b]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the present weights, and let the layers compute with these copies."""
        copies = [part for stacked in self._stacked_lora_a for part in stacked.layer_slices]
        copies += [layer_slice.scaled_lora_b for layer_slice in self._slices]
        _foreach._foreach_copy_(copies, [*self._lora_a, *_foreach._foreach_mul(self._lora_b, self._scales)])
        for layer, layer_slice in zip(self._layers, self._slices, strict=True):
            layer.compute_weights = layer_slice

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a scalar loss, float32, to the `grad` of the weights."""
        copies = [stacked.weight for stacked in self._stacked_lora_a]
        copies += [layer_slice.scaled_lora_b for layer_slice in self._slices]
        rounded = torch.autograd.grad(loss, copies, materialize_grads=True)
        num_stacked = len(self._stacked_lora_a)
        grads_a = [
            part
            for stacked, gradient in zip(self._stacked_lora_a, rounded[:num_stacked], strict=True)
            for part in gradient.split(stacked.ranks)
        ]
        with torch.no_grad():
            gradients = [torch.empty_like(weight) for weight in self._weights]
            _foreach._foreach_copy_(gradients, [*grads_a, *rounded[num_stacked:]])
            _foreach._foreach_mul_(gradients[len(self._lora_a) :], self._scales)
            for weight in self._weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            _foreach._foreach_add_([weight.grad for weight in self._weights], gradients)


def _group_by_input(layers: dict[str, Any]) -> list[list[Any]]:
    """Group layers that share an input; with dropout each layer has its own."""
    groups: dict[object, list[Any]] = {}
    for path, layer in layers.items():
        parent, _, name = path.rpartition(".")
        kind = next((kind for kind in SHARED_INPUT_GROUPS if name in kind), name)
        groups.setdefault(path if layer.has_dropout else (parent, kind), []).append(layer)
    return list(groups.values())


def build_lora_weights(model: torch.nn.Module, grouped: bool) -> PerLayerWeights:
    """Choose how an adapter's weights are rounded.

    Args:
        model: A model with LoRA layers.
        grouped: Round all together, where the LoRA layers hold all trainable parameters.

    Returns:
        The weights; call `refresh` before each forward pass and `backward` instead of `loss.backward`.
    """
    layers = {path: module for path, module in model.named_modules() if type(module) is MixedPrecisionLoraLinear}
    num_trainable = sum(parameter.requires_grad for parameter in model.parameters())
    return GroupedLoraWeights(layers) if grouped and layers and num_trainable == 2 * len(layers) else PerLayerWeights()
