"""Qwen2.5-VL: Qwen2-VL with window attention and positions in true time (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from synesthesia.models import ModelError
from synesthesia.models.attention import use_chunked_attention
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.models.patches import embed_patches_by_product, place_patches_from_cpu, widen_feed_forward
from synesthesia.models.qwen2_vl import place_tokens, timed_video_options


class Family(LanguageModel):
    """Sees. Positions in true time come with the collated batch; a video without them is refused.

    transformers would work them out from `mm_token_type_ids` and `second_per_grid_ts`, and where one of these got lost
    it raises nothing and takes video tokens for text, or every pair of frames for one second.
    """

    condition = "silent_video"
    model_class = Qwen2_5_VLForConditionalGeneration
    processor_class = Qwen2_5_VLProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    stays_on_cpu = ("video_grid_thw",)

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        self._core, self._visual = model.model, model.model.visual
        use_chunked_attention(self._visual)
        embed_patches_by_product(self._visual)
        place_patches_from_cpu(self._visual)
        refuse_videos_without_places(self._core)

    def layers(self) -> list[torch.nn.Module]:
        return [*super().layers(), *self._visual.blocks]

    def compile(self) -> None:
        widen_feed_forward(self._visual.blocks)
        super().compile()

    def content(self) -> list[dict]:
        return [{"type": "video"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        return timed_video_options(self.processor, percepts)

    def collate(self, percepts: Sequence[Percept], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = super().collate(percepts, prompts)
        place_tokens(self._core, batch)
        return batch


def refuse_videos_without_places(core: torch.nn.Module) -> None:
    """Let `core`, the model below its head, raise ModelError for a video without positions, on every way into it."""

    def check(_module: torch.nn.Module, _inputs: tuple, named: dict) -> None:
        if named.get("pixel_values_videos") is not None and named.get("position_ids") is None:
            raise ModelError(
                f"{type(core).__name__} got a video without position_ids and may place its frames wrongly: "
                "pass on the whole batch that `collate` made"
            )

    core.register_forward_pre_hook(check, with_kwargs=True)
