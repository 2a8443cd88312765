"""Qwen2-VL: a vision transformer in front of Qwen2 (Wang et al. 2024, arXiv 2409.12191)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from transformers.video_utils import VideoMetadata

from synesthesia.models.attention import use_chunked_attention
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.models.patches import embed_patches_by_product, place_patches_from_cpu


def video_options(processor, percepts: Sequence[Percept]) -> dict:
    """Processor arguments for frames that were chosen and sized at curation: nothing is sampled or capped again.

    The size is handed over at each call since Qwen2.5-Omni's processor otherwise overrides the video processor's own.
    """
    size = dict(processor.video_processor.size)
    return {
        "videos": [p.frames for p in percepts],
        "videos_kwargs": {"do_sample_frames": False, "size": size, "cap_pixels_per_frame": False},
    }


def timed_video_options(processor, percepts: Sequence[Percept]) -> dict:
    """`video_options` for a model that is told when its frames were seen: one a second, the first at 0 s.

    Without it transformers takes 24 frames a second for granted, and all of a clip falls into half a second.
    """
    options = video_options(processor, percepts)
    counts = [len(p.frames) for p in percepts]
    options["videos_kwargs"]["video_metadata"] = [
        VideoMetadata(total_num_frames=n, fps=1.0, frames_indices=list(range(n))) for n in counts
    ]
    return options


def raise_pixel_budget(options: dict, percepts: Sequence[Percept]) -> None:
    """Where `longest_edge` is a budget for all frames of a clip together: raise it to what curated frames need.

    Their size is the study's choice (`curate.largest_pixels`) and the same for every model that sees.
    """
    video = options["videos_kwargs"]
    needed = max(p.frames.shape[0] * p.frames.shape[1] * p.frames.shape[2] for p in percepts)
    video["size"] = {**video["size"], "longest_edge": max(video["size"]["longest_edge"], needed)}


def place_tokens(core: torch.nn.Module, batch: dict, **more: object) -> None:
    """Add `position_ids` int64 (3, clips, tokens) to a collated batch, from it and what `more` says.

    transformers works out rotary positions clip by clip in Python: work for the loader's processes, and on the GPU a
    wait at every step of it.
    """
    wanted = inspect.signature(core.get_rope_index).parameters
    known = {name: value for name, value in {**batch, **more}.items() if name in wanted}
    batch["position_ids"], _ = core.get_rope_index(**known)


class Family(LanguageModel):
    """Sees. `mm_token_type_ids` must reach the model, so the processor's whole batch is passed on."""

    condition = "silent_video"
    model_class = Qwen2VLForConditionalGeneration
    processor_class = Qwen2VLProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    stays_on_cpu = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        self._core, self._visual = model.model, model.model.visual
        use_chunked_attention(self._visual)
        embed_patches_by_product(self._visual)
        place_patches_from_cpu(self._visual)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self._visual.blocks]

    def content(self) -> list[dict]:
        return [{"type": "video"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        return video_options(self.processor, percepts)

    def collate(self, percepts: Sequence[Percept], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(percepts, prompts)
        place_tokens(self._core, batch)
        return batch
