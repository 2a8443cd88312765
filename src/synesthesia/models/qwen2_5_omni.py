"""Qwen2.5-Omni's Thinker: hears and sees (Xu et al. 2025, arXiv 2503.20215)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration

from synesthesia.acceleration.kernels.varlen_attention import patch_varlen_attention
from synesthesia.acceleration.padded_mlp import pad_mlp
from synesthesia.acceleration.vision_encoder import patch_embed_as_linear, precompute_positions_on_cpu
from synesthesia.models.base import ClipInputs, LanguageModel
from synesthesia.models.vision import add_position_ids, build_video_kwargs


class Qwen2_5OmniModel(LanguageModel):
    """Hears and sees. The Thinker alone is loaded: the whole Omni class has no `forward`, and speaks.

    Video and audio stand one after the other, each with its own placeholder.
    """

    condition = "sounded_video"
    model_class = Qwen2_5OmniThinkerForConditionalGeneration
    processor_class = Qwen2_5OmniProcessor
    lora_targets = r"model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    cpu_inputs = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        patch_varlen_attention(model.visual, model.audio_tower)
        patch_embed_as_linear(model.visual)
        precompute_positions_on_cpu(model.visual)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self.model.visual.blocks, *self.model.audio_tower.layers]

    def compile(self) -> None:
        pad_mlp(self.model.visual.blocks)
        super().compile()

    def chat_content(self) -> list[dict]:
        return [{"type": "video"}, {"type": "audio"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        arguments = build_video_kwargs(self.processor, clips)
        arguments["videos_kwargs"]["fps"] = 1.0
        return {**arguments, "audio": [p.audio for p in clips], "sampling_rate": 16000}

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(clips, prompts)
        sounds = batch["feature_attention_mask"].sum(1)
        add_position_ids(self.model, batch, audio_seqlens=sounds, second_per_grids=batch["video_second_per_grid"])
        return batch
