"""All gradients of a step in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

ALIGNMENT = 16  # float32 in 64 bytes: where a tensor of its own would begin


class FlatGradBuffer:
    """The `grad` of every trainable parameter, and the step's two losses, as views of one float32 tensor.

    One message adds them up over all processes and one call resets them. They stay in place, as a CUDA graph needs.
    """

    def __init__(self, trainable_params: Sequence[torch.nn.Parameter]) -> None:
        starts, end = [], 0
        for parameter in trainable_params:
            starts.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self._buffer = torch.zeros(end + 2, device=trainable_params[0].device)
        self.losses = self._buffer[end:]
        for parameter, start in zip(trainable_params, starts, strict=True):
            parameter.grad = self._buffer[start : start + parameter.numel()].view_as(parameter)

    def zero_(self) -> None:
        """Reset gradients and losses to 0."""
        self._buffer.zero_()

    def all_reduce(self, accelerator: Accelerator) -> None:
        """Sum gradients and losses over the processes."""
        total = accelerator.reduce(self._buffer, reduction="sum")
        assert isinstance(total, torch.Tensor)
        self._buffer.copy_(total)
