"""Model families: one file and one class per family, loaded by name through `load_model`.

To add a model, write `models/<family>.py` with a subclass of `LanguageModel`, add it to `FAMILIES`, and add an entry
under `models` to params.yaml. No other module depends on a family.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from synesthesia.models.errors import ModelError

if TYPE_CHECKING:
    from synesthesia.config import AccelerationConfig, ModelConfig
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import TextOnlyModel

__all__ = [
    "CONDITIONS",
    "FAMILIES",
    "TEXT_ONLY_FAMILIES",
    "ModelError",
    "check_entry",
    "is_text_only",
    "load_model",
    "load_text_model",
    "model_class",
]

FAMILIES = {
    "qwen2_audio": "synesthesia.models.qwen2_audio:Qwen2AudioModel",
    "qwen2_vl": "synesthesia.models.qwen2_vl:Qwen2VLModel",
    "qwen2_5_vl": "synesthesia.models.qwen2_5_vl:Qwen2_5VLModel",
    "videollama3": "synesthesia.models.videollama3:VideoLlama3Model",
    "qwen2_5_omni": "synesthesia.models.qwen2_5_omni:Qwen2_5OmniModel",
    "qwen3_vl": "synesthesia.models.qwen3_vl:Qwen3VLModel",
    "audio_flamingo3": "synesthesia.models.audio_flamingo3:AudioFlamingo3Model",
}
TEXT_ONLY_FAMILIES = {  # models that return text, see models/text_model.py
    "endpoint": "synesthesia.models.openai_api:OpenAICompatibleModel",
    "qwen_audio_chat": "synesthesia.models.qwen_audio_chat:QwenAudioChatModel",
    "kimi_audio": "synesthesia.models.kimi_audio:KimiAudioModel",
}
NEEDS_REMOTE_CODE = {"qwen_audio_chat", "kimi_audio"}
_ALL_CONDITIONS = ("audio", "silent_video", "sounded_video")
CONDITIONS = {  # in which a family can be asked; here, so that `make check` needs no torch
    "qwen2_audio": ("audio",),
    "qwen2_vl": ("silent_video",),
    "qwen2_5_vl": ("silent_video",),
    "videollama3": ("silent_video",),
    "qwen2_5_omni": _ALL_CONDITIONS,
    "qwen3_vl": ("silent_video",),
    "audio_flamingo3": ("audio",),
    "endpoint": _ALL_CONDITIONS,
    "qwen_audio_chat": ("audio",),
    "kimi_audio": ("audio",),
}


def model_class(family: str) -> type:
    """Import the class of a family.

    Args:
        family: A key of `FAMILIES` or `TEXT_ONLY_FAMILIES`.

    Returns:
        The subclass of `LanguageModel` or `TextOnlyModel`.

    Raises:
        ModelError: The family is unknown.
    """
    families = {**FAMILIES, **TEXT_ONLY_FAMILIES}
    if family not in families:
        raise ModelError(f"family {family!r} is not known; known: {', '.join(families)} (see models/__init__.py)")
    module, name = families[family].split(":")
    return getattr(importlib.import_module(module), name)


def check_entry(model_config: ModelConfig, name: str = "<key>") -> None:
    """Check that the family of an entry exists and can be asked in the entry's condition, and an endpoint's file.

    Args:
        model_config: The entry in params.yaml.
        name: Its key under `models`, for the error message.

    Raises:
        ModelError: It does not, or cannot; the message names the key.
    """
    family = model_config.family
    if family not in CONDITIONS:
        raise ModelError(f"models.{name}.family: {family!r} is not known; known: {', '.join(CONDITIONS)}")
    if model_config.condition not in CONDITIONS[family]:
        raise ModelError(
            f"models.{name}.condition: a model of family {family} cannot be asked in {model_config.condition}, only in "
            f"{' or '.join(CONDITIONS[family])}"
        )
    if family in FAMILIES and model_config.dtype is None:
        raise ModelError(f"models.{name}.dtype: missing: float32 or bfloat16")
    if family == "endpoint" and Path(model_config.checkpoint).is_file():  # a missing one fails when it is needed
        from synesthesia.models.endpoint_config import EndpointConfig

        EndpointConfig.load(model_config.checkpoint)


def is_text_only(model_config: ModelConfig) -> bool:
    """Return whether the family returns text only: `load_text_model` loads it, `evaluation.remote` queries it."""
    return model_config.family in TEXT_ONLY_FAMILIES


def load_text_model(model_config: ModelConfig, name: str = "<key>", frames_per_second: float = 1.0) -> TextOnlyModel:
    """Load a model that returns text.

    Args:
        model_config: Its entry in params.yaml.
        name: Its key under `models`, for the error message.
        frames_per_second: Rate of the stored frames (`curate.frames_per_second`).

    Returns:
        The model, ready to answer.

    Raises:
        ModelError: The model needs remote code without permission, or cannot be loaded.
    """
    if model_config.family in NEEDS_REMOTE_CODE and not model_config.trust_remote_code:
        raise ModelError(
            f"{model_config.title} runs code of its own that is not part of this project: review it, then allow it "
            f"with models.{name}.trust_remote_code: true"
        )
    check_entry(model_config, name)
    model = model_class(model_config.family).load(model_config)
    model.frames_per_second = frames_per_second
    return model


def load_model(
    model_config: ModelConfig,
    device: str = "cpu",
    acceleration: AccelerationConfig | None = None,
    frames_per_second: float = 1.0,
) -> LanguageModel:
    """Load a model that runs in this process and apply `acceleration`.

    Args:
        model_config: Its entry in params.yaml.
        device: `cpu`, `cuda` or `cuda:<index>`.
        acceleration: Which speed-ups apply; None applies the defaults of `AccelerationConfig`.
        frames_per_second: Rate of the stored frames (`curate.frames_per_second`).

    Returns:
        The model in evaluation mode, ready to answer in the entry's condition.

    Raises:
        ModelError: The family is unknown or text-only, or the checkpoint cannot be used.
    """
    from synesthesia.acceleration import apply
    from synesthesia.config import AccelerationConfig

    if is_text_only(model_config):
        raise ModelError(
            f"{model_config.title} (family {model_config.family}) returns text only: it can neither be trained nor "
            "evaluated as a student"
        )
    family = model_class(model_config.family)
    check_entry(model_config)
    model = family.load(model_config.checkpoint, model_config.dtype, device)
    model.condition, model.frames_per_second = model_config.condition, frames_per_second
    return apply(model, acceleration or AccelerationConfig())
