"""All gradients of a step in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

ALIGNMENT = 16  # float32 in 64 bytes: where a tensor by itself would begin


class FlatGradBuffer:
    """The `grad` of every parameter learnt, and the step's two losses, as views of one float32 tensor.

    One message adds them up over all processes and one call sets them to 0. They stay where they are, as a recorded
    CUDA graph needs them.
    """

    def __init__(self, trainable_params: Sequence[torch.nn.Parameter]) -> None:
        starts, end = [], 0
        for parameter in trainable_params:
            starts.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self._all = torch.zeros(end + 2, device=trainable_params[0].device)
        self.losses = self._all[end:]
        for parameter, start in zip(trainable_params, starts, strict=True):
            parameter.grad = self._all[start : start + parameter.numel()].view_as(parameter)

    def zero_(self) -> None:
        """Set all to 0."""
        self._all.zero_()

    def all_reduce(self, accelerator: Accelerator) -> None:
        """Sum over the processes."""
        self._all.copy_(accelerator.reduce(self._all, reduction="sum"))
