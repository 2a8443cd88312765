"""The LLMs that answer: one file a family, loaded by name through `load`.

Adding a model: write `models/<family>.py` with a class `Family(LanguageModel)`, add it to FAMILIES, and give it an
entry under `models` in params.yaml. Nothing else knows families.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synesthesia.config import Model
    from synesthesia.models.base import LanguageModel
    from synesthesia.models.text_model import Talker

FAMILIES = {
    "qwen2_audio": "synesthesia.models.qwen2_audio",
    "qwen2_vl": "synesthesia.models.qwen2_vl",
    "qwen2_5_vl": "synesthesia.models.qwen2_5_vl",
    "videollama3": "synesthesia.models.videollama3",
    "qwen2_5_omni": "synesthesia.models.qwen2_5_omni",
    "qwen3_vl": "synesthesia.models.qwen3_vl",
    "audio_flamingo3": "synesthesia.models.audio_flamingo3",
}
TALKERS = {  # models that only talk, see models/talker.py
    "endpoint": "synesthesia.models.openai_api",
    "qwen_audio_chat": "synesthesia.models.qwen_audio_chat",
    "kimi_audio": "synesthesia.models.kimi_audio",
}
RUNS_ITS_OWN_CODE = {"qwen_audio_chat", "kimi_audio"}


class ModelError(ValueError):
    """A model that cannot be loaded or used; the message names the checkpoint and what is wrong with it."""


def talks(model: Model) -> bool:
    """Whether the entry's family only talks: `load_talker` is for it, and `asking` instead of `answering`."""
    return model.family in TALKERS


def load_talker(model: Model, key: str = "<key>") -> Talker:
    """Load a model that only talks; `key` is its name under `models`, for the message where it may not run its code."""
    if model.family in RUNS_ITS_OWN_CODE and not model.remote_code:
        raise ModelError(
            f"{model.title} runs code of its own that is not part of this project: look through it, then allow it with "
            f"models.{key}.remote_code: true"
        )
    return importlib.import_module(TALKERS[model.family]).Family.load(model)


def load(model: Model, device: str = "cpu") -> LanguageModel:
    """Load a model of the parameters, ready to answer; raise ModelError for an unknown family or a bad checkpoint."""
    if talks(model):
        raise ModelError(f"{model.title} (family {model.family}) only answers: it can neither learn nor be examined")
    if model.family not in FAMILIES:
        known = ", ".join([*FAMILIES, *TALKERS])
        raise ModelError(f"family {model.family!r} is not known; known: {known} (see models/__init__.py)")
    if model.precision is None:
        raise ModelError(f"{model.title}: precision is missing in its entry: float32 or bfloat16")
    loaded = importlib.import_module(FAMILIES[model.family]).Family.load(model.checkpoint, model.precision, device)
    if model.compile:
        loaded.compile()
    return loaded
