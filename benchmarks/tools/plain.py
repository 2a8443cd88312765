"""Baselines without any code of this project in the forward pass: transformers' models and processors."""

from __future__ import annotations

import torch
from tools.noise import make_prompts, noise_clips

from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def small_model(name: str) -> LanguageModel:
    """Build a scaled-down model on the CPU; its processor and prompts equal those of the full-size one."""
    return random_init.build_model(name, "cpu", scale=random_init.ScaledConfig())


def plain_model(name: str) -> torch.nn.Module:
    """Build transformers' model with random weights in bfloat16; scaled down without a GPU."""
    model_class = random_init.get_model_class(name).model_class
    scale = None if DEVICE == "cuda" else random_init.ScaledConfig()
    torch.manual_seed(0)
    with torch.device(DEVICE):
        return model_class._from_config(random_init.build_config(name, scale), dtype=torch.bfloat16).eval()


def is_floating(value: object) -> bool:
    """Return whether a value is a floating-point tensor."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def plain_inputs(model: LanguageModel, n_clips: int, part: slice = slice(None)) -> dict:
    """Run the model's own processor, which pads audio to 30 s.

    Args:
        model: Model whose processor and prompts are used.
        n_clips: Number of noise clips and questions to draw.
        part: Which of them to process.

    Returns:
        Inputs on `DEVICE`, floating-point ones in bfloat16.
    """
    clips, prompts = noise_clips(model, n_clips)[part], make_prompts(n_clips)[part]
    if type(model).processor_inputs is LanguageModel.processor_inputs:
        # Audio Flamingo 3: its `collate` calls the processor, which pads to 30 s
        inputs = model.collate(clips, prompts)
    else:
        media = model.processor_inputs(clips)
        media.pop("audio_kwargs", None)
        texts = [model.render_prompt(p) for p in prompts]
        inputs = dict(model.processor(text=texts, padding=True, padding_side="right", return_tensors="pt", **media))
    inputs = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    return {k: v.bfloat16() if is_floating(v) else v for k, v in inputs.items()}
