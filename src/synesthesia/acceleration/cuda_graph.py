"""The decoder's forward and backward pass as one CUDA graph per shape.

One pass over eight audio clips is some 2,500 small launches, which take the CPU longer than the GPU needs to compute
them. Captured once (Nguyen et al. 2021, "Accelerating PyTorch with CUDA graphs") they are one launch. Everything that
looks at values, the encoders and the merging of their outputs with the text, stays outside (`split_forward`); lengths
are rounded up to `PAD_TO_MULTIPLE` tokens, so that a few shapes serve all clips (padding follows the answer position
and changes nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.acceleration.split_forward import decode_embeds, embed_inputs
from synesthesia.utils.device import to_device

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel

PAD_TO_MULTIPLE = 16

Tensors = dict[str, torch.Tensor]
LossFunction = Callable[[torch.Tensor, Tensors], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class CapturedGraph:
    """A graph, the buffers it reads and the losses that it writes."""

    graph: torch.cuda.CUDAGraph
    static_inputs: Tensors
    losses: torch.Tensor


class CUDAGraphStep:
    """Adds gradients of micro-batches to the `grad` of the trainable parameters, tensors that exist and stay the same.

    Args of `__init__`:
        student: A compiled student on a GPU.
        trainable_params: Its trainable parameters, each with a `grad`.
        compute_loss: (logits float32 (clips, vocabulary), static inputs) -> (scalar loss, its parts float32 (2,)).
    """

    def __init__(
        self, student: LanguageModel, trainable_params: list[torch.nn.Parameter], compute_loss: LossFunction
    ) -> None:
        self.student, self.trainable_params, self.compute_loss = student, trainable_params, compute_loss
        self._lora_weights = build_lora_weights(student.model, grouped=True)
        self._captured: dict[tuple, CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._side_stream = torch.cuda.Stream()
        self._side_stream.wait_stream(torch.cuda.current_stream())

    def prefetch(self, batches: Iterable[tuple[Tensors, Tensors]]) -> Iterator[tuple]:
        """Embed each micro-batch on a stream of its own while the one before is trained on.

        The encoders train nothing, so they need not wait for the step before; they fill what the decoder's small
        kernels leave of the GPU.

        Args:
            batches: (collated inputs, targets) as `step.EagerStep.forward_backward` takes them, on the CPU.

        Yields:
            What `forward_backward` takes.
        """
        previous = None
        for inputs, targets in batches:
            with torch.cuda.stream(self._side_stream):
                embedded = (*embed_inputs(self.student, inputs), self._side_stream.record_event())
            if previous is not None:
                yield previous
            previous = embedded, targets
        if previous is not None:
            yield previous

    def forward_backward(self, batch: tuple, num_clips: int) -> torch.Tensor:
        """Add the gradients of one micro-batch of a step of `num_clips` clips.

        Args:
            batch: As `prefetch` yields it.
            num_clips: Clips of the whole step; each loss is divided by it.

        Returns:
            The micro-batch's part of cross-entropy and KL divergence, float32 (2,), on the GPU.
        """
        (embeds, position_ids, positions, ready), targets = batch
        stream = torch.cuda.current_stream()
        stream.wait_event(ready)
        for tensor in (embeds, position_ids, positions):
            if tensor is not None:
                tensor.record_stream(stream)
        device = embeds.device
        padding = -embeds.shape[1] % PAD_TO_MULTIPLE
        inputs = {
            "embeds": F.pad(embeds, (0, 0, 0, padding)),
            "positions": positions,
            **{name: to_device(tensor, device) for name, tensor in targets.items()},
            "loss_scale": torch.full((), 1.0 / num_clips, device=device),
        }
        if position_ids is not None:
            inputs["position_ids"] = F.pad(position_ids, (0, padding))
        shape = tuple(inputs["embeds"].shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(inputs)
        captured = self._captured[shape]
        for name, value in inputs.items():
            captured.static_inputs[name].copy_(value)
        captured.graph.replay()
        return captured.losses.clone()

    def _forward_backward(self, static_inputs: Tensors) -> torch.Tensor:
        self._lora_weights.refresh()
        logits = decode_embeds(
            self.student, static_inputs["embeds"], static_inputs.get("position_ids"), static_inputs["positions"]
        )
        loss, parts = self.compute_loss(logits, static_inputs)
        self._lora_weights.backward(loss)
        return parts

    def _capture(self, inputs: Tensors) -> CapturedGraph:
        static_inputs = {name: value.clone() for name, value in inputs.items()}
        gradients = [p.grad.clone() for p in self.trainable_params if p.grad is not None]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles, selects kernels, fills workspaces: none of it may be in the graph
            for _ in range(2):
                self._forward_backward(static_inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # loader threads pin memory
            losses = self._forward_backward(static_inputs)
        for parameter, gradient in zip(self.trainable_params, gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)
        return CapturedGraph(graph, static_inputs, losses)
