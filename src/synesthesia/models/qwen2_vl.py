"""Qwen2-VL: a vision transformer in front of Qwen2 (Wang et al. 2024, arXiv 2409.12191)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from synesthesia.acceleration.vision_encoder import place_patches_from_cpu
from synesthesia.models.base import Percept
from synesthesia.models.vision import VisionLanguageModel, video_options


class Family(VisionLanguageModel):
    """Sees. It is not told when frames were seen: a pair of them is one step."""

    model_class = Qwen2VLForConditionalGeneration
    processor_class = Qwen2VLProcessor
    stays_on_cpu = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        place_patches_from_cpu(self.encoder)

    def media(self, percepts: Sequence[Percept]) -> dict:
        return video_options(self.processor, percepts)
