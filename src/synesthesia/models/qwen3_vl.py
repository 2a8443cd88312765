"""Qwen3-VL: deep features of the frames in several layers, times as text (Qwen team 2025, arXiv 2511.21631)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from synesthesia.models.base import ClipInputs
from synesthesia.models.vision import VisionLanguageModel, raise_pixel_budget


class Qwen3VLModel(VisionLanguageModel):
    """Sees. Patches are 16 pixels wide, so frames are resized to multiples of 32; each pair of them has its second.

    transformers replaces the placeholder alone and keeps the template's marks around it, so that marks stand around the
    clip and again around each pair of frames.
    """

    model_class = Qwen3VLForConditionalGeneration
    processor_class = Qwen3VLProcessor
    is_prenorm = False  # features of the frames are added between layers, and its mask must be a tensor

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        options = super().processor_inputs(clips)
        raise_pixel_budget(options, clips)
        return options
