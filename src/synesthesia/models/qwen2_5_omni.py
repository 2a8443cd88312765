"""Qwen2.5-Omni's Thinker: audio and video (Xu et al. 2025, arXiv 2503.20215)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel
from synesthesia.models.vision import add_position_ids, build_video_kwargs


class Qwen2_5OmniModel(LanguageModel):
    """Audio, video, or both. Only the Thinker is loaded: the full Omni class has no `forward` and generates speech.

    Video and audio follow one another, each with its own placeholder.
    """

    condition = "sounded_video"
    model_class = Qwen2_5OmniThinkerForConditionalGeneration
    processor_class = Qwen2_5OmniProcessor
    lora_targets = r"model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    size_inputs = ("video_grid_thw",)

    def __init__(self, model: torch.nn.Module, processor: Any, device: str) -> None:
        super().__init__(model, processor, device)
        self.vision_encoder, self.audio_encoder = self.model.visual, self.model.audio_tower
        self.chunked_encoders = self.vision_encoder, self.audio_encoder

    def layers(self) -> list[torch.nn.Module]:
        """Return the layers of language model, vision encoder and audio encoder."""
        return [*super().layers(), *self.vision_encoder.blocks, *self.audio_encoder.layers]

    @property
    def has_video(self) -> bool:
        """Whether the model is asked with frames."""
        return self.condition != "audio"

    @property
    def has_audio(self) -> bool:
        """Whether the model is asked with sound."""
        return self.condition != "silent_video"

    def chat_content(self) -> list[dict]:
        """Return a video part, then an audio part; only one of them outside of `sounded_video`."""
        return [{"type": "video"}] * self.has_video + [{"type": "audio"}] * self.has_audio

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return frames with their rate, and audio at 16 kHz."""
        kwargs: dict[str, Any] = {}
        if self.has_video:
            kwargs |= build_video_kwargs(self.processor, clips)
            kwargs["videos_kwargs"]["fps"] = self.frames_per_second
        if self.has_audio:
            kwargs |= {"audio": [clip.audio for clip in clips], "sampling_rate": 16000}
        return kwargs

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Build a batch as `LanguageModel.collate` does, with `position_ids`."""
        batch = super().collate(clips, prompts)
        audio_lengths = batch["feature_attention_mask"].sum(1) if self.has_audio else None
        add_position_ids(
            self.model, batch, audio_seqlens=audio_lengths, second_per_grids=batch.get("video_second_per_grid")
        )
        return batch
