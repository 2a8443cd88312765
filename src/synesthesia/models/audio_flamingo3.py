"""Audio Flamingo 3: AF-Whisper in front of Qwen2.5 (Goel et al. 2025, arXiv 2507.08128)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor

from synesthesia.models.base import ClipInputs, LanguageModel


class AudioFlamingo3Model(LanguageModel):
    """Hears. Its encoder takes whole windows of 30 seconds, so sounds are padded to one, and the rest is masked."""

    condition = "audio"
    model_class = AudioFlamingo3ForConditionalGeneration
    processor_class = AudioFlamingo3Processor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def chat_content(self) -> list[dict]:
        return [{"type": "audio", "path": "clip"}]

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = self.processor(  # texts and sounds are padded differently, which the common call cannot say
            text=[self.render_prompt(p) for p in prompts],
            audio=[p.audio for p in clips],
            text_kwargs={"padding": True, "padding_side": "right"},
            audio_kwargs={"sampling_rate": 16000, "padding": "max_length"},
        )
        return dict(batch)
