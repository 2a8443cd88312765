"""Qwen2-Audio: an audio encoder in front of Qwen2 (Chu et al. 2024, arXiv 2407.10759)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from synesthesia.acceleration.audio_encoder import PAD_FRAMES, CroppedAudioEncoder
from synesthesia.models import ModelError
from synesthesia.models.base import ClipInputs, LanguageModel
from synesthesia.utils.device import no_grad_fast_kernels, to_device


class Qwen2AudioModel(LanguageModel):
    """Hears. The processor takes float32 arrays at 16 kHz through `audio=` (not `audios=`)."""

    condition = "audio"
    model_class = Qwen2AudioForConditionalGeneration
    processor_class = Qwen2AudioProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        self._base_model = model.model
        self._audio_encoder = CroppedAudioEncoder(model.model.audio_tower)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self._audio_encoder.layers]

    def chat_content(self) -> list[dict]:
        return [{"type": "audio", "audio_url": "clip"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        # The mel spectrogram of the window alone: a third of the work of 30 s. Its last frames look beyond the end,
        # hence twice the spare ones.
        extractor = self.processor.feature_extractor
        longest = max(len(p.audio) for p in clips) + 2 * PAD_FRAMES * extractor.hop_length
        return {
            "audio": [p.audio for p in clips],
            "sampling_rate": extractor.sampling_rate,
            "audio_kwargs": {"max_length": min(longest, extractor.n_samples)},
        }

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(clips, prompts)
        self._audio_encoder.crop(batch)
        return batch

    def prepare(self, batch: dict[str, torch.Tensor]) -> None:
        self._audio_encoder.set_lengths(batch["feature_attention_mask"])

    @no_grad_fast_kernels()
    def embed_inputs(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, None, torch.Tensor]:
        """As transformers merges sound and text, but what it reads off the GPU at each batch is known on the CPU."""
        self.prepare(batch)
        ids, mask = batch["input_ids"], batch["feature_attention_mask"]
        heard = ids == self._base_model.config.audio_token_id
        tokens = self._base_model.audio_tower._get_feat_extract_output_lengths(mask.sum(1))[1]
        if heard.sum() != tokens.sum():
            raise ModelError(f"{int(heard.sum())} places for sound in the text, but {int(tokens.sum())} were heard")
        moved = {k: self._to_device(k, v) for k, v in batch.items()}
        sound = self._base_model.multi_modal_projector(
            self._base_model.audio_tower(moved["input_features"]).last_hidden_state
        )
        kept = torch.arange(sound.shape[1])[None] < tokens[:, None]
        if not kept.all():
            sound = sound.flatten(0, 1)[to_device(kept.flatten().nonzero()[:, 0], self.device)]
        embeds = self.decoder().get_input_embeddings()(moved["input_ids"])
        places = to_device(heard[..., None], self.device)
        at = to_device(batch["attention_mask"].sum(1) - 1, self.device)
        return embeds.masked_scatter(places, sound.to(embeds.dtype)), None, at
