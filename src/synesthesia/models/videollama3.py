"""VideoLLaMA 3: SigLIP of any resolution in front of Qwen2.5 (Zhang et al. 2025, arXiv 2501.13106).

transformers' own class reads checkpoints in its own layout (model_type `video_llama_3`, the hub's "-HF" conversions);
the authors' first release (`videollama3_qwen2`) is remote code and is refused with that reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from synesthesia.acceleration.kernels.varlen_attention import patch_varlen_attention
from synesthesia.acceleration.vision_encoder import precompute_positions_on_cpu
from synesthesia.models import ModelError
from synesthesia.models.base import ClipInputs, LanguageModel
from synesthesia.models.vision import build_timed_video_kwargs, raise_pixel_budget


class VideoLlama3Model(LanguageModel):
    """Sees, frame by frame: the prompt says the second of each frame before its tokens.

    Its video processor drops tokens of places where nothing moved since the frame before (the model was trained so),
    so that clips of one size differ in length.
    """

    condition = "silent_video"
    model_class = VideoLlama3ForConditionalGeneration
    processor_class = VideoLlama3Processor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    cpu_inputs = ("video_grid_thw", "video_merge_sizes")

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        self._encoder = model.model.vision_model
        patch_varlen_attention(self._encoder)
        precompute_positions_on_cpu(self._encoder)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self._encoder.encoder.layers]

    @classmethod
    def load(cls, checkpoint: str, dtype: str, device: str) -> LanguageModel:
        try:
            return super().load(checkpoint, dtype, device)
        except ModelError as error:
            if "videollama3_qwen2" not in str(error):
                raise
            raise ModelError(f"{error}; take a checkpoint in transformers' own layout (on the hub: ...-HF)") from None

    def chat_content(self) -> list[dict]:
        return [{"type": "video"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        options = build_timed_video_kwargs(self.processor, clips)
        del options["videos_kwargs"]["cap_pixels_per_frame"]  # Qwen's alone
        raise_pixel_budget(options, clips)
        return options

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(clips, prompts)
        return {k: v for k, v in batch.items() if isinstance(v, torch.Tensor)}  # not the frames' metadata
