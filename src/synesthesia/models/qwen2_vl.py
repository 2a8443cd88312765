"""Qwen2-VL: a vision transformer in front of Qwen2 (Wang et al. 2024, arXiv 2409.12191)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from synesthesia.acceleration.vision_encoder import precompute_positions_on_cpu
from synesthesia.models.base import ClipInputs
from synesthesia.models.vision import VisionLanguageModel, build_video_kwargs


class Qwen2VLModel(VisionLanguageModel):
    """Sees. It is not told when frames were seen: a pair of them is one step."""

    model_class = Qwen2VLForConditionalGeneration
    processor_class = Qwen2VLProcessor
    cpu_inputs = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        precompute_positions_on_cpu(self.encoder)

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        return build_video_kwargs(self.processor, clips)
