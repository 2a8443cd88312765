"""Plain models, transformers' classes by themselves, and what their own processors make of a benchmark's clips."""

from __future__ import annotations

import torch
from tools.noise import percepts, prompts

from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel

HERE = "cuda" if torch.cuda.is_available() else "cpu"


def small_model(name: str) -> LanguageModel:
    """Ours scaled down, on the CPU: for its processor, which is the real one."""
    return random_init.build_model(name, "cpu", scale=random_init.ScaledConfig())


def plain_model(name: str) -> torch.nn.Module:
    """The class of transformers by itself, nothing of ours installed; without a GPU scaled down."""
    kind = random_init.get_model_class(name).model_class
    scale = None if HERE == "cuda" else random_init.ScaledConfig()
    torch.manual_seed(0)
    with torch.device(HERE):
        return kind._from_config(random_init.build_config(name, scale), dtype=torch.bfloat16).eval()


def fractional(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def plain_inputs(model: LanguageModel, clips: int, chosen: slice = slice(None)) -> dict:
    """What the model's own processor makes of the chosen ones of so many clips, sounds padded to 30 s, on `HERE`."""
    seen, asked = percepts(model, clips)[chosen], prompts(clips)[chosen]
    if (
        type(model).processor_inputs is LanguageModel.processor_inputs
    ):  # Audio Flamingo 3: ours is the processor's own call, padded to 30 s
        made = model.collate(seen, asked)
    else:
        media = model.processor_inputs(seen)
        media.pop("audio_kwargs", None)
        texts = [model.render_prompt(p) for p in asked]
        made = dict(model.processor(text=texts, padding=True, padding_side="right", return_tensors="pt", **media))
    made = {k: v.to(HERE) if isinstance(v, torch.Tensor) else v for k, v in made.items()}
    return {k: v.bfloat16() if fractional(v) else v for k, v in made.items()}
