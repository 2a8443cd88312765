"""The LLMs that answer: one file a family, loaded by name through `load`.

Adding a model: write `models/<family>.py` with a class `Family(LanguageModel)`, add it to FAMILIES, and give it an
entry under `models` in params.yaml. Nothing else knows families.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synesthesia.models.base import LanguageModel
    from synesthesia.params import Model

FAMILIES = {
    "qwen2_audio": "synesthesia.models.qwen2_audio",
    "qwen2_vl": "synesthesia.models.qwen2_vl",
    "qwen2_5_vl": "synesthesia.models.qwen2_5_vl",
    "videollama3": "synesthesia.models.videollama3",
    "qwen2_5_omni": "synesthesia.models.qwen2_5_omni",
    "qwen3_vl": "synesthesia.models.qwen3_vl",
    "audio_flamingo3": "synesthesia.models.audio_flamingo3",
}


class ModelError(ValueError):
    """A model that cannot be loaded or used; the message names the checkpoint and what is wrong with it."""


def load(model: Model, device: str = "cpu") -> LanguageModel:
    """Load a model of the parameters, ready to answer; raise ModelError for an unknown family or a bad checkpoint."""
    if model.family not in FAMILIES:
        raise ModelError(f"family {model.family!r} is not known; known: {', '.join(FAMILIES)} (see models/__init__.py)")
    loaded = importlib.import_module(FAMILIES[model.family]).Family.load(model.checkpoint, model.precision, device)
    if model.compile:
        loaded.compile()
    return loaded
