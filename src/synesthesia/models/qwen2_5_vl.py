"""Qwen2.5-VL: Qwen2-VL with window attention and positions in true time (Bai et al. 2025, arXiv 2502.13923)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from synesthesia.models import ModelError
from synesthesia.models.attention import use_chunked_attention
from synesthesia.models.base import LanguageModel, Percept
from synesthesia.models.patches import embed_patches_by_product
from synesthesia.models.qwen2_vl import timed_video_options


class Family(LanguageModel):
    """Sees.

    Without `mm_token_type_ids` this model, other than Qwen2-VL, raises nothing and takes its video tokens for text;
    such a batch is refused here, on every path that leads into the model.
    """

    condition = "silent_video"
    model_class = Qwen2_5_VLForConditionalGeneration
    processor_class = Qwen2_5_VLProcessor
    lora_targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

    def __init__(self, model, processor, device: str) -> None:
        super().__init__(model, processor, device)
        use_chunked_attention(model.model.visual)
        embed_patches_by_product(model.model.visual)
        refuse_videos_without(model.model, "mm_token_type_ids", "second_per_grid_ts")

    def content(self) -> list[dict]:
        return [{"type": "video"}]

    def media(self, percepts: Sequence[Percept]) -> dict:
        return timed_video_options(self.processor, percepts)


def refuse_videos_without(core: torch.nn.Module, *names: str) -> None:
    """Let `core`, the model below its head, raise ModelError for a video without these inputs, on every way into it."""

    def check(_module: torch.nn.Module, _inputs: tuple, named: dict) -> None:
        lacking = [k for k in names if named.get(k) is None]
        if named.get("pixel_values_videos") is not None and lacking:
            raise ModelError(
                f"{type(core).__name__} got a video without {' and '.join(lacking)} and would place its frames "
                "wrongly: pass on the whole batch that `collate` made"
            )

    core.register_forward_pre_hook(check, with_kwargs=True)
