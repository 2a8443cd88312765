"""Qwen3-VL: vision features added in several layers, times as text (Qwen team 2025, arXiv 2511.21631)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.vision import VisionLanguageModel, raise_pixel_budget


class Qwen3VLModel(VisionLanguageModel):
    """Video only. Patches are 16 pixels wide, so frames are resized to multiples of 32; each pair has its second.

    transformers replaces only the placeholder and keeps the template's vision start and end tokens around it, so these
    tokens enclose the clip and again each pair of frames.
    """

    model_class = Qwen3VLForConditionalGeneration
    processor_class = Qwen3VLProcessor
    is_prenorm = False  # vision features are added between layers, and the attention mask must be a tensor

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return frames with times, under a pixel budget that fits all frames of a clip."""
        kwargs = super().processor_inputs(clips)
        raise_pixel_budget(kwargs, clips)
        return kwargs
