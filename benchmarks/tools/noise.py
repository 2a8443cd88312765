"""What models of the real configurations are given, without data or weights: noise of the real sizes, and questions.

Plain models are transformers' classes by themselves, and get what their own processors make of the same clips.
"""

from __future__ import annotations

import numpy as np
import torch

from synesthesia import questions as wording
from synesthesia.models import random_weights
from synesthesia.models.base import LanguageModel, Percept

HERE = "cuda" if torch.cuda.is_available() else "cpu"
HEIGHT, WIDTH = 392, 644  # 252,448 pixels: 16:9 within the paper's 262,144, in whole blocks of 28


def percepts(model: LanguageModel, clips: int, seed: int = 0) -> list[Percept]:
    """Noise of the real sizes, for this model's senses."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(clips):
        audio = random.standard_normal(160_000).astype(np.float32).clip(-4, 4) / 8
        frames = random.integers(0, 256, (10, HEIGHT, WIDTH, 3), np.uint8)
        hears, sees = model.condition != "silent_video", model.condition != "audio"
        made.append(Percept(audio if hears else None, frames if sees else None))
    return made


def prompts(clips: int) -> list[str]:
    """Questions of different lengths."""
    names = random_weights.SOUNDS
    return [wording.prompt([names[(i * 7 + j * (1 + i % 5)) % len(names)] for j in range(10)]) for i in range(clips)]


def lesson(model: LanguageModel, texts: list[str]) -> tuple:
    """A micro-batch as distillation.lessons makes it: letters to say, and every other clip's logits to match."""
    inputs = model.collate(percepts(model, len(texts)), texts)
    letters = torch.arange(len(texts)) % 10
    return inputs, letters, letters % 2 == 0, torch.randn(len(texts), 10), model.letter_ids.repeat(len(texts), 1)


def small_model(name: str) -> LanguageModel:
    """Ours scaled down, on the CPU: for its processor, which is the real one."""
    return random_weights.build(name, "cpu", scale=random_weights.Scale())


def plain_model(name: str) -> torch.nn.Module:
    """The class of transformers by itself, nothing of ours installed; without a GPU scaled down."""
    kind = random_weights.family(name).model_class
    scale = None if HERE == "cuda" else random_weights.Scale()
    torch.manual_seed(0)
    with torch.device(HERE):
        return kind._from_config(random_weights.configuration(name, scale), dtype=torch.bfloat16).eval()


def fractional(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def plain_inputs(model: LanguageModel, clips: int, chosen: slice = slice(None)) -> dict:
    """What the model's own processor makes of the chosen ones of so many clips, sounds padded to 30 s, on `HERE`."""
    seen, asked = percepts(model, clips)[chosen], prompts(clips)[chosen]
    if type(model).media is LanguageModel.media:  # Audio Flamingo 3: ours is the processor's own call, padded to 30 s
        made = model.collate(seen, asked)
    else:
        media = model.media(seen)
        media.pop("audio_kwargs", None)
        texts = [model.text(p) for p in asked]
        made = dict(model.processor(text=texts, padding=True, padding_side="right", return_tensors="pt", **media))
    made = {k: v.to(HERE) if isinstance(v, torch.Tensor) else v for k, v in made.items()}
    return {k: v.bfloat16() if fractional(v) else v for k, v in made.items()}
