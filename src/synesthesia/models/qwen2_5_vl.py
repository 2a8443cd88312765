"""Qwen2.5-VL: Qwen2-VL with window attention and positions in true time (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from synesthesia.acceleration.padded_mlp import pad_mlp
from synesthesia.acceleration.vision_encoder import precompute_positions_on_cpu
from synesthesia.models.vision import VisionLanguageModel


class Qwen2_5VLModel(VisionLanguageModel):
    """Sees, and is told the second of each pair of frames."""

    model_class = Qwen2_5_VLForConditionalGeneration
    processor_class = Qwen2_5_VLProcessor
    cpu_inputs = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        precompute_positions_on_cpu(self.encoder)

    def compile(self) -> None:
        pad_mlp(self.encoder.blocks)
        super().compile()
