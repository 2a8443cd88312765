"""Qwen3-VL: deep features of the frames in several layers, times as text (Qwen team 2025, arXiv 2511.21631)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from synesthesia.models.attention import use_chunked_attention
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.models.patches import embed_patches_by_product
from synesthesia.models.qwen2_5_vl import refuse_videos_without_places
from synesthesia.models.qwen2_vl import place_tokens, raise_pixel_budget, timed_video_options


class Family(LanguageModel):
    """Sees. Patches are 16 pixels wide, so frames are resized to multiples of 32; each pair of them has its second.

    transformers replaces the placeholder alone and keeps the template's marks around it, so that marks stand around the
    clip and again around each pair of frames.
    """

    condition = "silent_video"
    model_class = Qwen3VLForConditionalGeneration
    processor_class = Qwen3VLProcessor
    plain_decoder = False  # features of the frames are added between layers, and its mask must be a tensor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        use_chunked_attention(model.model.visual)
        embed_patches_by_product(model.model.visual)
        self._core = model.model
        refuse_videos_without_places(self._core)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self.model.model.visual.blocks]

    def content(self) -> list[dict]:
        return [{"type": "video"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        options = timed_video_options(self.processor, percepts)
        raise_pixel_budget(options, percepts)
        return options

    def collate(self, percepts: Sequence[Percept], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(percepts, prompts)
        place_tokens(self._core, batch)
        return batch
