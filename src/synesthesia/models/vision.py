"""What families that see share: how curated frames are handed to a processor, and where video tokens stand."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from transformers.video_utils import VideoMetadata

from synesthesia.acceleration.kernels.varlen_attention import patch_varlen_attention
from synesthesia.acceleration.vision_encoder import patch_embed_as_linear
from synesthesia.models import ModelError
from synesthesia.models.base import ClipInputs, LanguageModel


def build_video_kwargs(processor, clips: Sequence[ClipInputs]) -> dict:
    """Processor arguments for frames that were chosen and sized at curation: nothing is sampled or capped again.

    The size is handed over at each call since Qwen2.5-Omni's processor otherwise overrides the video processor's own.
    """
    size = dict(processor.video_processor.size)
    return {
        "videos": [p.frames for p in clips],
        "videos_kwargs": {"do_sample_frames": False, "size": size, "cap_pixels_per_frame": False},
    }


def build_timed_video_kwargs(processor, clips: Sequence[ClipInputs]) -> dict:
    """`video_options` for a model that is told when its frames were seen: one a second, the first at 0 s.

    Without it transformers takes 24 frames a second for granted, and all of a clip falls into half a second.
    """
    options = build_video_kwargs(processor, clips)
    counts = [len(p.frames) for p in clips]
    options["videos_kwargs"]["video_metadata"] = [
        VideoMetadata(total_num_frames=n, fps=1.0, frames_indices=list(range(n))) for n in counts
    ]
    return options


def raise_pixel_budget(processor_kwargs: dict, clips: Sequence[ClipInputs]) -> None:
    """Where `longest_edge` is a budget for all frames of a clip together: raise it to what curated frames need.

    Their size is the study's choice (`curate.largest_pixels`) and the same for every model that sees.
    """
    video = processor_kwargs["videos_kwargs"]
    needed = max(p.frames.shape[0] * p.frames.shape[1] * p.frames.shape[2] for p in clips)
    video["size"] = {**video["size"], "longest_edge": max(video["size"]["longest_edge"], needed)}


def add_position_ids(base_model: torch.nn.Module, batch: dict, **kwargs: object) -> None:
    """Add `position_ids` int64 (3, clips, tokens) to a collated batch, from it and what `more` says.

    transformers works out rotary positions clip by clip in Python: work for the loader's processes, and on the GPU a
    wait at every step of it.
    """
    wanted = inspect.signature(base_model.get_rope_index).parameters
    known = {name: value for name, value in {**batch, **kwargs}.items() if name in wanted}
    batch["position_ids"], _ = base_model.get_rope_index(**known)


def require_position_ids(base_model: torch.nn.Module) -> None:
    """Let `core`, the model below its head, raise ModelError for a video without positions, on every way into it.

    transformers would work them out from `mm_token_type_ids` and `second_per_grid_ts`, and where one of these got lost
    it raises nothing and takes video tokens for text, or every pair of frames for one second.
    """

    def check(_module: torch.nn.Module, _inputs: tuple, named: dict) -> None:
        if named.get("pixel_values_videos") is not None and named.get("position_ids") is None:
            raise ModelError(
                f"{type(base_model).__name__} got a video without position_ids and may place its frames wrongly: "
                "pass on the whole batch that `collate` made"
            )

    base_model.register_forward_pre_hook(check, with_kwargs=True)


class VisionLanguageModel(LanguageModel):
    """A Qwen family that sees and does not hear. Positions come with the collated batch; a video without is refused."""

    condition = "silent_video"
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model: torch.nn.Module, processor, device: str) -> None:
        super().__init__(model, processor, device)
        self._base_model, self.encoder = model.model, model.model.visual
        patch_varlen_attention(self.encoder)
        patch_embed_as_linear(self.encoder)
        require_position_ids(self._base_model)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self.encoder.blocks]

    def chat_content(self) -> list[dict]:
        return [{"type": "video"}]

    def processor_inputs(self, clips: Sequence[ClipInputs]) -> dict:
        return build_timed_video_kwargs(self.processor, clips)

    def collate(self, clips: Sequence[ClipInputs], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(clips, prompts)
        add_position_ids(self._base_model, batch)
        return batch
