"""Gradients and losses of an optimizer step, one tensor per parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from accelerate import Accelerator


class SeparateGradients:
    """The plain counterpart of `acceleration.gradient_buffer.FlatGradBuffer`, with the same interface.

    Attributes:
        losses: float32 (2,), the step's cross-entropy and KL divergence.

    Args:
        trainable_params: Parameters that require gradients.
    """

    def __init__(self, trainable_params: Sequence[torch.nn.Parameter]) -> None:
        self._trainable_params = trainable_params
        self.losses = torch.zeros(2, device=trainable_params[0].device)

    def zero_(self) -> None:
        """Drop the gradients and reset the losses."""
        for parameter in self._trainable_params:
            parameter.grad = None
        self.losses.zero_()

    def all_reduce(self, accelerator: Accelerator) -> None:
        """Sum gradients and losses over the processes.

        Args:
            accelerator: Accelerator of the process group.
        """
        for parameter in self._trainable_params:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = cast(torch.Tensor, accelerator.reduce(grad, reduction="sum"))
        self.losses.copy_(cast(torch.Tensor, accelerator.reduce(self.losses, reduction="sum")))
