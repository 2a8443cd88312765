"""VideoLLaMA 3: any-resolution SigLIP in front of Qwen2.5 (Zhang et al. 2025, arXiv 2501.13106).

The class of transformers reads checkpoints in its own layout (model_type `video_llama_3`, the hub's "-HF"
conversions). The authors' first release (`videollama3_qwen2`) is remote code; loading it raises an error that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import VideoLlama3ForConditionalGeneration, VideoLlama3Processor

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel
from synesthesia.models.errors import ModelError
from synesthesia.models.vision import build_timed_video_kwargs, raise_pixel_budget


class VideoLlama3Model(LanguageModel):
    """Video only, frame by frame: the prompt states the second of each frame before its tokens.

    The video processor drops tokens of patches that do not change from one frame to the next (as in training), so clips
    of one size differ in length.
    """

    condition = "silent_video"
    model_class = VideoLlama3ForConditionalGeneration
    processor_class = VideoLlama3Processor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    size_inputs = ("video_grid_thw", "video_merge_sizes")

    def __init__(self, model: torch.nn.Module, processor: Any, device: str) -> None:
        super().__init__(model, processor, device)
        self.vision_encoder = self.model.model.vision_model
        self.chunked_encoders = (self.vision_encoder,)

    def layers(self) -> list[torch.nn.Module]:
        """Return the layers of language model and vision encoder."""
        return [*super().layers(), *self.vision_encoder.encoder.layers]

    @classmethod
    def load(cls, checkpoint: str, dtype: str, device: str) -> LanguageModel:
        """Load as `LanguageModel.load` does.

        Raises:
            ModelError: The checkpoint cannot be used; for the authors' layout, the message names the one to use.
        """
        try:
            return super().load(checkpoint, dtype, device)
        except ModelError as error:
            if "videollama3_qwen2" not in str(error):
                raise
            raise ModelError(f"{error}; use a checkpoint in transformers' own layout (on the hub: ...-HF)") from None

    def chat_content(self) -> list[dict]:
        """Return one video part."""
        return [{"type": "video"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return frames with times, under a pixel budget that fits all frames of a clip."""
        kwargs = build_timed_video_kwargs(self.processor, clips, self.frames_per_second)
        del kwargs["videos_kwargs"]["cap_pixels_per_frame"]  # an argument of Qwen's video processors only
        raise_pixel_budget(kwargs, clips)
        return kwargs

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Build a batch as `LanguageModel.collate` does, without the metadata of the frames."""
        batch = super().collate(clips, prompts)
        return {k: v for k, v in batch.items() if isinstance(v, torch.Tensor)}
