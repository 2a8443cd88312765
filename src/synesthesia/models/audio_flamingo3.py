"""Audio Flamingo 3: AF-Whisper in front of Qwen2.5 (Goel et al. 2025, arXiv 2507.08128)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AudioFlamingo3ForConditionalGeneration, AudioFlamingo3Processor

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel


class AudioFlamingo3Model(LanguageModel):
    """Audio only. The encoder takes windows of 30 seconds, so audio is padded to one window and the padding masked."""

    condition = "audio"
    model_class = AudioFlamingo3ForConditionalGeneration
    processor_class = AudioFlamingo3Processor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def chat_content(self) -> list[dict]:
        """Return one audio part."""
        return [{"type": "audio", "path": "clip"}]

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Build a batch as `LanguageModel.collate` does, with separate padding of text and audio."""
        batch = self.processor(  # one `padding` argument would apply to both
            text=[self.render_prompt(p) for p in prompts],
            audio=[clip.audio for clip in clips],
            text_kwargs={"padding": True, "padding_side": "right"},
            audio_kwargs={"sampling_rate": 16000, "padding": "max_length"},
        )
        return dict(batch)
