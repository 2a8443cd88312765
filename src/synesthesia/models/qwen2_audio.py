"""Qwen2-Audio: an audio encoder in front of Qwen2 (Chu et al. 2024, arXiv 2407.10759)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel


class Qwen2AudioModel(LanguageModel):
    """Audio only. The processor takes float32 arrays at 16 kHz through `audio=` (not `audios=`)."""

    condition = "audio"
    model_class = Qwen2AudioForConditionalGeneration
    processor_class = Qwen2AudioProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model: torch.nn.Module, processor: Any, device: str) -> None:
        super().__init__(model, processor, device)
        self.base_model = self.model.model
        self.audio_encoder = self.base_model.audio_tower

    def layers(self) -> list[torch.nn.Module]:
        """Return the layers of language model and audio encoder."""
        return [*super().layers(), *self.audio_encoder.layers]

    def chat_content(self) -> list[dict]:
        """Return one audio part."""
        return [{"type": "audio", "audio_url": "clip"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return audio at the feature extractor's sampling rate (16 kHz)."""
        sampling_rate = self.processor.feature_extractor.sampling_rate
        return {"audio": [clip.audio for clip in clips], "sampling_rate": sampling_rate}
