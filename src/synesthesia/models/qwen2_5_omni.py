"""Qwen2.5-Omni's Thinker: hears and sees (Xu et al. 2025, arXiv 2503.20215)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration

from synesthesia.acceleration.kernels.varlen_attention import use_chunked_attention
from synesthesia.acceleration.padded_mlp import widen_feed_forward
from synesthesia.acceleration.vision_encoder import embed_patches_by_product, place_patches_from_cpu
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.models.vision import place_tokens, video_options


class Family(LanguageModel):
    """Hears and sees. The Thinker alone is loaded: the whole Omni class has no `forward`, and speaks.

    Video and audio stand one after the other, each with its own placeholder.
    """

    condition = "sounded_video"
    model_class = Qwen2_5OmniThinkerForConditionalGeneration
    processor_class = Qwen2_5OmniProcessor
    lora_targets = r"model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    stays_on_cpu = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        use_chunked_attention(model.visual, model.audio_tower)
        embed_patches_by_product(model.visual)
        place_patches_from_cpu(model.visual)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self.model.visual.blocks, *self.model.audio_tower.layers]

    def compile(self) -> None:
        widen_feed_forward(self.model.visual.blocks)
        super().compile()

    def content(self) -> list[dict]:
        return [{"type": "video"}, {"type": "audio"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        arguments = video_options(self.processor, percepts)
        arguments["videos_kwargs"]["fps"] = 1.0
        return {**arguments, "audio": [p.audio for p in percepts], "sampling_rate": 16000}

    def collate(self, percepts: Sequence[Percept], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(percepts, prompts)
        sounds = batch["feature_attention_mask"].sum(1)
        place_tokens(self.model, batch, audio_seqlens=sounds, second_per_grids=batch["video_second_per_grid"])
        return batch
