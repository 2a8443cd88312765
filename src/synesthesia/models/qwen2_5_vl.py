"""Qwen2.5-VL: Qwen2-VL with window attention and absolute time positions (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from synesthesia.models.vision import VisionLanguageModel


class Qwen2_5VLModel(VisionLanguageModel):
    """Video only. Positions encode the second of each pair of frames."""

    model_class = Qwen2_5_VLForConditionalGeneration
    processor_class = Qwen2_5_VLProcessor
    size_inputs = ("video_grid_thw",)
