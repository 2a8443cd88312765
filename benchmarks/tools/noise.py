"""Inputs for full-size models without data: noise clips, questions, and training batches."""

from __future__ import annotations

import numpy as np
import torch

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt

HEIGHT, WIDTH = 392, 644  # 252,448 pixels: 16:9 within the paper's 262,144, in multiples of 28


def noise_clips(model: LanguageModel, n_clips: int, seed: int = 0) -> list[ClipInputs]:
    """Draw full-size clips for a model's modalities: 10 s of audio, ten frames."""
    rng = np.random.default_rng(seed)
    has_audio, has_video = model.condition != "silent_video", model.condition != "audio"
    clips = []
    for _ in range(n_clips):
        audio = rng.standard_normal(160_000).astype(np.float32).clip(-4, 4) / 8
        frames = rng.integers(0, 256, (10, HEIGHT, WIDTH, 3), np.uint8)
        clips.append(ClipInputs(audio if has_audio else None, frames if has_video else None))
    return clips


def make_prompts(n_prompts: int) -> list[str]:
    """Format questions of different lengths."""
    labels = random_init.DEFAULT_LABELS
    return [
        format_prompt([labels[(i * 7 + j * (1 + i % 5)) % len(labels)] for j in range(10)]) for i in range(n_prompts)
    ]


def make_training_batch(model: LanguageModel, prompts: list[str]) -> tuple:
    """Build a micro-batch as `DistillationDataset` does: a label per clip, teacher logits for every other clip."""
    inputs = model.collate(noise_clips(model, len(prompts)), prompts)
    labels = torch.arange(len(prompts)) % 10
    token_ids = model.letter_ids.repeat(len(prompts), 1)
    return inputs, labels, labels % 2 == 0, torch.randn(len(prompts), 10), token_ids
