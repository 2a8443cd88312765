"""Shared code of the vision families: processor arguments for curated frames, positions of video tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel
from synesthesia.models.errors import ModelError


def build_video_kwargs(processor: Any, clips: Sequence[ClipInputs]) -> dict:
    """Build processor arguments for frames selected and resized at curation: no further sampling or pixel cap.

    The size is passed at each call because Qwen2.5-Omni's processor otherwise overrides the video processor's own.

    Args:
        processor: The family's processor.
        clips: Clips with frames.

    Returns:
        Keyword arguments `videos` and `videos_kwargs`.
    """
    size = dict(processor.video_processor.size)
    return {
        "videos": [clip.frames for clip in clips],
        "videos_kwargs": {"do_sample_frames": False, "size": size, "cap_pixels_per_frame": False},
    }


def build_timed_video_kwargs(processor: Any, clips: Sequence[ClipInputs], frames_per_second: float) -> dict:
    """Build `build_video_kwargs` with frame times, the first at 0 s.

    Without times transformers assumes 24 frames per second, which compresses a clip into half a second.

    Args:
        processor: The family's processor.
        clips: Clips with frames.
        frames_per_second: Rate at which they were sampled.

    Returns:
        Keyword arguments `videos` and `videos_kwargs`, with `video_metadata`.
    """
    kwargs = build_video_kwargs(processor, clips)
    counts = [len(_frames(clip)) for clip in clips]
    kwargs["videos_kwargs"]["video_metadata"] = [
        VideoMetadata(total_num_frames=n, fps=frames_per_second, frames_indices=list(range(n))) for n in counts
    ]
    return kwargs


def raise_pixel_budget(processor_kwargs: dict, clips: Sequence[ClipInputs]) -> None:
    """Raise `longest_edge`, where it is a budget for all frames of a clip, to what the curated frames need.

    Their size is the study's choice (`curate.max_pixels`) and the same for every vision model.

    Args:
        processor_kwargs: What `build_video_kwargs` returns; changed in place.
        clips: Clips with frames.
    """
    video_kwargs = processor_kwargs["videos_kwargs"]
    num_pixels = max(int(np.prod(_frames(clip).shape[:3])) for clip in clips)
    longest_edge = max(video_kwargs["size"]["longest_edge"], num_pixels)
    video_kwargs["size"] = {**video_kwargs["size"], "longest_edge": longest_edge}


def _frames(clip: ClipInputs) -> np.ndarray:
    assert clip.frames is not None, "a vision model needs frames"
    return clip.frames


def add_position_ids(base_model: Any, batch: dict[str, torch.Tensor], **kwargs: object) -> None:
    """Add `position_ids`, int64 (3, clips, tokens), to a collated batch.

    transformers computes rotary positions per clip in Python. The loader's processes do it, since it would make the GPU
    wait at every step.

    Args:
        base_model: The module that has `get_rope_index`.
        batch: A collated batch; changed in place.
        **kwargs: Further arguments of `get_rope_index`.
    """
    parameters = inspect.signature(base_model.get_rope_index).parameters
    available = {name: value for name, value in {**batch, **kwargs}.items() if name in parameters}
    batch["position_ids"], _ = base_model.get_rope_index(**available)


def require_position_ids(base_model: torch.nn.Module) -> None:
    """Register a hook that raises ModelError for a video without positions, for every caller of the forward pass.

    transformers would compute them from `mm_token_type_ids` and `second_per_grid_ts`. If one of these is missing, it
    raises no error and treats video tokens as text, or every pair of frames as one second.

    Args:
        base_model: The model below its head.
    """

    def check(_module: torch.nn.Module, _args: tuple, kwargs: dict) -> None:
        if kwargs.get("pixel_values_videos") is not None and kwargs.get("position_ids") is None:
            raise ModelError(
                f"{type(base_model).__name__} got a video without position_ids and may place its frames incorrectly: "
                "pass the full batch that `collate` returns"
            )

    base_model.register_forward_pre_hook(check, with_kwargs=True)


class VisionLanguageModel(LanguageModel):
    """A Qwen vision family, video only. The collated batch contains positions; a video without them raises an error."""

    condition = "silent_video"
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model: torch.nn.Module, processor: Any, device: str) -> None:
        super().__init__(model, processor, device)
        self.base_model, self.vision_encoder = self.model.model, self.model.model.visual
        self.chunked_encoders = (self.vision_encoder,)
        require_position_ids(self.base_model)

    def layers(self) -> list[torch.nn.Module]:
        """Return the layers of language model and vision encoder."""
        return [*super().layers(), *self.vision_encoder.blocks]

    def chat_content(self) -> list[dict]:
        """Return one video part."""
        return [{"type": "video"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        """Return frames with times."""
        return build_timed_video_kwargs(self.processor, clips, self.frames_per_second)

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Build a batch as `LanguageModel.collate` does, with `position_ids`."""
        batch = super().collate(clips, prompts)
        add_position_ids(self.base_model, batch)
        return batch
