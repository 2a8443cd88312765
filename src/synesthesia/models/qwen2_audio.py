"""Qwen2-Audio: an audio encoder in front of Qwen2 (Chu et al. 2024, arXiv 2407.10759)."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from synesthesia.models.base import LanguageModel, Percept


class Family(LanguageModel):
    """Hears. The processor takes float32 arrays at 16 kHz through `audio=` (not `audios=`)."""

    condition = "audio"
    model_class = Qwen2AudioForConditionalGeneration
    processor_class = Qwen2AudioProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def content(self) -> list[dict]:
        return [{"type": "audio", "audio_url": "clip"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        return {"audio": [p.audio for p in percepts], "sampling_rate": 16000}
