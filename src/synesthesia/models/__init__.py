"""The LLMs that answer: one file a family, loaded by name through `load`.

Adding a model: write `models/<family>.py` with a class `Family(LanguageModel)`, add it to FAMILIES, and give it an
entry under `models` in params.yaml. Nothing else knows families.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synesthesia.config import ModelConfig
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import TextOnlyModel

FAMILIES = {
    "qwen2_audio": "synesthesia.models.qwen2_audio",
    "qwen2_vl": "synesthesia.models.qwen2_vl",
    "qwen2_5_vl": "synesthesia.models.qwen2_5_vl",
    "videollama3": "synesthesia.models.videollama3",
    "qwen2_5_omni": "synesthesia.models.qwen2_5_omni",
    "qwen3_vl": "synesthesia.models.qwen3_vl",
    "audio_flamingo3": "synesthesia.models.audio_flamingo3",
}
TEXT_ONLY_FAMILIES = {  # models that only talk, see models/talker.py
    "endpoint": "synesthesia.models.openai_api",
    "qwen_audio_chat": "synesthesia.models.qwen_audio_chat",
    "kimi_audio": "synesthesia.models.kimi_audio",
}
NEEDS_REMOTE_CODE = {"qwen_audio_chat", "kimi_audio"}


class ModelError(ValueError):
    """A model that cannot be loaded or used; the message names the checkpoint and what is wrong with it."""


def is_text_only(model_config: ModelConfig) -> bool:
    """Whether the entry's family only talks: `load_talker` is for it, and `asking` instead of `answering`."""
    return model_config.family in TEXT_ONLY_FAMILIES


def load_text_model(model_config: ModelConfig, name: str = "<key>") -> TextOnlyModel:
    """Load a model that only talks; `key` is its name under `models`, for the message where it may not run its code."""
    if model_config.family in NEEDS_REMOTE_CODE and not model_config.trust_remote_code:
        raise ModelError(
            f"{model_config.title} runs code of its own that is not part of this project: look through it, then allow it with "
            f"models.{name}.remote_code: true"
        )
    return importlib.import_module(TEXT_ONLY_FAMILIES[model_config.family]).Family.load(model_config)


def load_model(model_config: ModelConfig, device: str = "cpu") -> LanguageModel:
    """Load a model of the parameters, ready to answer; raise ModelError for an unknown family or a bad checkpoint."""
    if is_text_only(model_config):
        raise ModelError(
            f"{model_config.title} (family {model_config.family}) only answers: it can neither learn nor be examined"
        )
    if model_config.family not in FAMILIES:
        known = ", ".join([*FAMILIES, *TEXT_ONLY_FAMILIES])
        raise ModelError(f"family {model_config.family!r} is not known; known: {known} (see models/__init__.py)")
    if model_config.dtype is None:
        raise ModelError(f"{model_config.title}: precision is missing in its entry: float32 or bfloat16")
    loaded = importlib.import_module(FAMILIES[model_config.family]).Family.load(
        model_config.checkpoint, model_config.dtype, device
    )
    if model_config.compile:
        loaded.compile()
    return loaded
