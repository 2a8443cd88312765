"""What models of the real configurations are given, without data or weights: noise of the real sizes, and questions."""

from __future__ import annotations

import numpy as np
import torch

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt

HEIGHT, WIDTH = 392, 644  # 252,448 pixels: 16:9 within the paper's 262,144, in whole blocks of 28


def percepts(model: LanguageModel, clips: int, seed: int = 0) -> list[ClipInputs]:
    """Noise of the real sizes, for this model's senses."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(clips):
        audio = random.standard_normal(160_000).astype(np.float32).clip(-4, 4) / 8
        frames = random.integers(0, 256, (10, HEIGHT, WIDTH, 3), np.uint8)
        hears, sees = model.condition != "silent_video", model.condition != "audio"
        made.append(ClipInputs(audio if hears else None, frames if sees else None))
    return made


def prompts(clips: int) -> list[str]:
    """Questions of different lengths."""
    names = random_init.DEFAULT_LABELS
    return [format_prompt([names[(i * 7 + j * (1 + i % 5)) % len(names)] for j in range(10)]) for i in range(clips)]


def lesson(model: LanguageModel, texts: list[str]) -> tuple:
    """A micro-batch as distillation.lessons makes it: letters to say, and every other clip's logits to match."""
    inputs = model.collate(percepts(model, len(texts)), texts)
    letters = torch.arange(len(texts)) % 10
    return inputs, letters, letters % 2 == 0, torch.randn(len(texts), 10), model.letter_ids.repeat(len(texts), 1)
