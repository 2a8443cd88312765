"""Qwen2.5-VL: Qwen2-VL with window attention and positions in true time (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from synesthesia.acceleration.padded_mlp import widen_feed_forward
from synesthesia.acceleration.vision_encoder import place_patches_from_cpu
from synesthesia.models.vision import VisionLanguageModel


class Family(VisionLanguageModel):
    """Sees, and is told the second of each pair of frames."""

    model_class = Qwen2_5_VLForConditionalGeneration
    processor_class = Qwen2_5_VLProcessor
    stays_on_cpu = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        place_patches_from_cpu(self.encoder)

    def compile(self) -> None:
        widen_feed_forward(self.encoder.blocks)
        super().compile()
