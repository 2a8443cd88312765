"""Qwen2-VL: a vision transformer in front of Qwen2 (Wang et al. 2024, arXiv 2409.12191)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.vision import VisionLanguageModel, build_video_kwargs


class Qwen2VLModel(VisionLanguageModel):
    """Video only. The model receives no frame times: each pair of frames is one time step."""

    model_class = Qwen2VLForConditionalGeneration
    processor_class = Qwen2VLProcessor
    size_inputs = ("video_grid_thw",)

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return frames without times."""
        return build_video_kwargs(self.processor, clips)
