"""The language model's forward and backward pass as one CUDA graph a shape.

Of eight clips of sound one pass is some 2,500 small launches, which take the CPU longer than the GPU needs to compute
them. Recorded once (Nguyen et al. 2021, "Accelerating PyTorch with CUDA graphs") they are one launch. Everything that
looks at values, the encoders and the merging of their outputs with the text, stays outside; lengths are rounded up to
`STEP` tokens, so that a few shapes serve all clips (the padding stands behind the answer and changes nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.config import TrainingConfig
from synesthesia.distillation.losses import kl_divergence, letter_cross_entropy
from synesthesia.models.base import LanguageModel
from synesthesia.utils.device import to_device

PAD_TO_MULTIPLE = 16


@dataclass
class CapturedGraph:
    """A graph, the buffers it reads and the losses that it writes."""

    graph: torch.cuda.CUDAGraph
    static_inputs: dict[str, torch.Tensor]
    losses: torch.Tensor


class CUDAGraphStep:
    """Adds gradients of micro-batches to the `grad` of `learnt`: tensors that are there and stay the same ones."""

    def __init__(
        self, student: LanguageModel, trainable_params: list[torch.nn.Parameter], training: TrainingConfig
    ) -> None:
        self.student, self.trainable_params, self.training = student, trainable_params, training
        self._lora_weights = build_lora_weights(student.model, grouped=True)
        self._recorded: dict[tuple, CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._side_stream = torch.cuda.Stream()
        self._side_stream.wait_stream(torch.cuda.current_stream())

    def prefetch(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """The micro-batches (see Lessons) as `learn` takes them: embedded, each beside the learning of the one before.

        The encoders learn nothing, so what they hear and see does not wait for the step before; on a stream of their
        own they fill what the language model's small kernels leave of the GPU.
        """
        before = None
        for inputs, *taught in batches:
            with torch.cuda.stream(self._side_stream):
                embedded = self.student.embed_inputs(inputs)
                embedded = *embedded, self._side_stream.record_event()
            if before is not None:
                yield before
            before = embedded, *taught
        if before is not None:
            yield before

    def forward_backward(self, batch: tuple, num_clips: int) -> torch.Tensor:
        """Gradients of one micro-batch of `ahead`, of a step of `clips` clips; its losses, float32 (2,)."""
        (embeds, places, at, ready), letters, soft, teacher, tokens = batch
        now = torch.cuda.current_stream()
        now.wait_event(ready)
        for made in (embeds, places, at):
            if made is not None:
                made.record_stream(now)
        device = embeds.device
        more = -embeds.shape[1] % PAD_TO_MULTIPLE
        given = {
            "embeds": F.pad(embeds, (0, 0, 0, more)),
            "at": at,
            "said": to_device(self.student.letter_ids[letters.clamp(min=0)], device),
            "taught": to_device(letters >= 0, device),
            "soft": to_device(soft, device),
            "teacher": to_device(teacher, device),
            "tokens": to_device(tokens, device),
            "share": torch.full((), 1.0 / num_clips, device=device),
        }
        if places is not None:
            given["places"] = F.pad(places, (0, more))
        shape = tuple(given["embeds"].shape)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(given)
        recorded = self._recorded[shape]
        for name, value in given.items():
            recorded.static_inputs[name].copy_(value)
        recorded.graph.replay()
        return recorded.losses.clone()

    def _pass(self, static_inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        self._lora_weights.refresh()
        logits = self.student.decode_embeds(static_inputs["embeds"], static_inputs.get("places"), static_inputs["at"])
        hard = letter_cross_entropy(logits, static_inputs["said"], static_inputs["taught"]) * static_inputs["share"]
        close = logits.gather(1, static_inputs["tokens"])
        close = (
            kl_divergence(close, static_inputs["teacher"], static_inputs["soft"], self.training.temperature)
            * static_inputs["share"]
        )
        self._lora_weights.backward(hard + self.training.kl_weight * close)
        return torch.stack([hard.detach(), close.detach()])

    def _record(self, static_inputs: dict[str, torch.Tensor]) -> CapturedGraph:
        static_inputs = {name: value.clone() for name, value in static_inputs.items()}
        before = [parameter.grad.clone() for parameter in self.trainable_params]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, chooses kernels, fills workspaces: none of it may be in the graph
            for _ in range(2):
                self._pass(static_inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # loader threads pin memory
            losses = self._pass(static_inputs)
        for parameter, grad in zip(self.trainable_params, before, strict=True):
            parameter.grad.copy_(grad)
        return CapturedGraph(graph, static_inputs, losses)
