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

from synesthesia.acceleration.lora_grouped import small_weights
from synesthesia.config import Training
from synesthesia.distillation.losses import divergence, letter_cross_entropy
from synesthesia.models.base import LanguageModel
from synesthesia.utils.device import send

STEP = 16


@dataclass
class Recorded:
    """A graph, the buffers it reads and the losses that it writes."""

    graph: torch.cuda.CUDAGraph
    given: dict[str, torch.Tensor]
    losses: torch.Tensor


class Replay:
    """Adds gradients of micro-batches to the `grad` of `learnt`: tensors that are there and stay the same ones."""

    def __init__(self, student: LanguageModel, learnt: list[torch.nn.Parameter], training: Training) -> None:
        self.student, self.learnt, self.training = student, learnt, training
        self._small = small_weights(student.model, together=True)
        self._recorded: dict[tuple, Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._beside = torch.cuda.Stream()
        self._beside.wait_stream(torch.cuda.current_stream())

    def ahead(self, batches: Iterable[tuple]) -> Iterator[tuple]:
        """The micro-batches (see Lessons) as `learn` takes them: embedded, each beside the learning of the one before.

        The encoders learn nothing, so what they hear and see does not wait for the step before; on a stream of their
        own they fill what the language model's small kernels leave of the GPU.
        """
        before = None
        for inputs, *taught in batches:
            with torch.cuda.stream(self._beside):
                embedded = self.student.embed(inputs)
                embedded = *embedded, self._beside.record_event()
            if before is not None:
                yield before
            before = embedded, *taught
        if before is not None:
            yield before

    def learn(self, batch: tuple, clips: int) -> torch.Tensor:
        """Gradients of one micro-batch of `ahead`, of a step of `clips` clips; its losses, float32 (2,)."""
        (embeds, places, at, ready), letters, soft, teacher, tokens = batch
        now = torch.cuda.current_stream()
        now.wait_event(ready)
        for made in (embeds, places, at):
            if made is not None:
                made.record_stream(now)
        device = embeds.device
        more = -embeds.shape[1] % STEP
        given = {
            "embeds": F.pad(embeds, (0, 0, 0, more)),
            "at": at,
            "said": send(self.student.letter_ids[letters.clamp(min=0)], device),
            "taught": send(letters >= 0, device),
            "soft": send(soft, device),
            "teacher": send(teacher, device),
            "tokens": send(tokens, device),
            "share": torch.full((), 1.0 / clips, device=device),
        }
        if places is not None:
            given["places"] = F.pad(places, (0, more))
        shape = tuple(given["embeds"].shape)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(given)
        recorded = self._recorded[shape]
        for name, value in given.items():
            recorded.given[name].copy_(value)
        recorded.graph.replay()
        return recorded.losses.clone()

    def _pass(self, given: dict[str, torch.Tensor]) -> torch.Tensor:
        self._small.renew()
        logits = self.student.decode(given["embeds"], given.get("places"), given["at"])
        hard = letter_cross_entropy(logits, given["said"], given["taught"]) * given["share"]
        close = logits.gather(1, given["tokens"])
        close = divergence(close, given["teacher"], given["soft"], self.training.temperature) * given["share"]
        self._small.backward(hard + self.training.kl_weight * close)
        return torch.stack([hard.detach(), close.detach()])

    def _record(self, given: dict[str, torch.Tensor]) -> Recorded:
        given = {name: value.clone() for name, value in given.items()}
        before = [parameter.grad.clone() for parameter in self.learnt]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, chooses kernels, fills workspaces: none of it may be in the graph
            for _ in range(2):
                self._pass(given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # loader threads pin memory
            losses = self._pass(given)
        for parameter, grad in zip(self.learnt, before, strict=True):
            parameter.grad.copy_(grad)
        return Recorded(graph, given, losses)
