"""Tiny random models of all families and a small store of random clips, for tests.

Weights have a larger variance than transformers' default initialization, so that logits are on the order of 1 and
depend on every token. With the default initialization, all logits are nearly equal and comparisons detect few errors.
"""

from __future__ import annotations

import atexit
import copy
import io
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from synesthesia import acceleration, config, models, schemas
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.data.store import StoreWriter
from synesthesia.distillation import adapters
from synesthesia.models import random_init
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.synthetic import tiny_models
from tests.helpers.preset_files import embedded

ROOT = Path(__file__).parents[2]
TINY_MODELS = {"qwen2_audio": "qwen2-audio", "qwen2_vl": "qwen2-vl", "qwen2_5_omni": "qwen2.5-omni"}
SCALED = {"qwen2_5_vl": "qwen2.5-vl", "videollama3": "videollama3", "qwen3_vl": "qwen3-vl",
          "audio_flamingo3": "audio-flamingo-3"}  # fmt: skip
FAMILIES = {**TINY_MODELS, **SCALED}
CONDITIONS = dict.fromkeys(FAMILIES, "silent_video") | {
    "qwen2_audio": "audio",
    "audio_flamingo3": "audio",
    "qwen2_5_omni": "sounded_video",
}
OPTIONS = ["cat purring", "dog barking", "police car", "playing drums", "owl hooting",
           "toilet flushing", "sea waves", "lawn mowing", "people whistling", "train horning"]  # fmt: skip
SIZES = ((4, 56, 84), (2, 84, 84), (6, 84, 112), (4, 56, 84), (2, 112, 84))  # frames, height, width

torch.set_num_threads(
    1
)  # for forked data loaders and reproducible bytes; the models are too small to benefit from threads


@cache
def session_folder() -> Path:
    """Create a temporary folder that is removed when the process ends."""
    folder, owner_pid = Path(tempfile.mkdtemp(prefix="synesthesia-tests-")), os.getpid()
    atexit.register(lambda: os.getpid() == owner_pid and shutil.rmtree(folder, ignore_errors=True))
    return folder


@cache
def word_tokenizer():
    """Train a tokenizer on the words of the questions."""
    return tiny_models.train_tokenizer([format_prompt(OPTIONS[:n]) for n in range(2, 11)])


@cache
def checkpoint(family: str) -> Path:
    """Save a random model of the family with its processor, in Hugging Face format."""
    name, folder = FAMILIES[family], session_folder() / family
    torch.manual_seed(7)
    if family in SCALED:
        scale = random_init.ScaledConfig(use_full_vocab=False, audio_window_seconds=10)
        scaled = random_init.build_model(name, dtype="float32", scale=scale, seed=7)
        randomize_weights(scaled.model)
        random_init.save_checkpoint(scaled, folder)
        return folder
    model = tiny_models.build_model(name, word_tokenizer())
    randomize_weights(model)
    tiny_models.save_model(name, model, word_tokenizer(), folder)
    return folder


@torch.no_grad()
def randomize_weights(model: torch.nn.Module) -> None:
    """Redraw all weights: matrices preserve the scale of their input, vectors move away from 0 and 1."""
    for name, weight in sorted(model.named_parameters()):
        if "embed_tokens" in name or "position" in name:
            weight.normal_()
        elif weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        else:
            weight.add_(torch.randn_like(weight), alpha=0.1)


def model_entry(family: str, **changes) -> config.ModelConfig:
    """Build the family's entry in params.yaml, with the random checkpoint."""
    values = {
        "title": family,
        "family": family,
        "checkpoint": str(checkpoint(family)),
        "condition": CONDITIONS[family],
        "dtype": "float32",
        "batch_size": 4,
        "role": "audio",
        "splits": ["finetune"],
    }
    return config.ModelConfig(**{**values, **changes})


@cache
def _load_unchanged(family: str) -> LanguageModel:
    return models.load_model(model_entry(family), acceleration=config.AccelerationConfig.off())


def fresh_model(family: str, switches: config.AccelerationConfig | None = None) -> LanguageModel:
    """Return a copy of the model, which the caller may change; copying is ten times as fast as loading."""
    original = _load_unchanged(family)
    model = type(original)(copy.deepcopy(original.model), original.processor, original.device)
    return acceleration.apply(model, switches or config.AccelerationConfig())


@cache
def shared_model(family: str) -> LanguageModel:
    """Return the model that all tests share; tests must not change it."""
    return fresh_model(family)


def random_audio(seed: int, seconds: float = 10.0) -> np.ndarray:
    """Synthesize tones and noise, float32 (samples,), different for each seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16000)) / 16000
    tones = sum(a * np.sin(2 * np.pi * f * t) for a, f in zip(rng.random(4), rng.uniform(100, 6000, 4)))  # noqa: B905
    waveform = 0.15 * tones * np.sin(2 * np.pi * rng.uniform(0.2, 3) * t) + 0.02 * rng.standard_normal(len(t))
    return waveform.clip(-1, 0.999).astype(np.float32)


def random_frames(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """Draw frames of random 14 x 14 squares, uint8 (frames, height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, height // 14, width // 14, 3), dtype=np.uint8)
    return coarse.repeat(14, axis=1).repeat(14, axis=2)


def clip_inputs(condition: str, seconds: tuple[float, ...] = (10.0,) * len(SIZES)) -> list[ClipInputs]:
    """Build clip inputs of mixed frame sizes and counts, limited to the modalities of the condition."""
    return [
        ClipInputs(
            audio=None if condition == "silent_video" else random_audio(seed, seconds[seed]),
            frames=None if condition == "audio" else random_frames(seed, *size),
        )
        for seed, size in enumerate(SIZES)
    ]


def prompts() -> list[str]:
    """Build one prompt per clip of `clip_inputs`, of mixed lengths."""
    return [format_prompt(OPTIONS[:n]) for n in (10, 2, 7, 4, 10)]


@cache
def small_store(count: int = 12) -> tuple[pa.Table, pa.Table, Path]:
    """Build clips (schemas.CLIP), one question each (schemas.QUESTION, 3 to 10 options), and their store."""
    folder, clips, questions = session_folder() / f"store-{count}", [], []
    with StoreWriter(folder, clips_per_shard=5) as writer:
        for i in range(count):
            clip_id = f"clip{i:02d}_000010"
            shard, row = writer.add(clip_id, (random_audio(i) * 32767).astype(np.int16), jpegs(i))
            clips.append({"clip_id": clip_id, "video_id": f"clip{i:02d}", "dataset": "vggsound", "split": "finetune",
                          "labels": [OPTIONS[i % 3]], "shard": shard, "row": row})  # fmt: skip
            questions.append({"question_id": f"{clip_id}-q", "clip_id": clip_id, "split": "finetune",
                          "options": OPTIONS[: 3 + i % 8], "target": i % 3})  # fmt: skip
    return (
        schemas.from_rows(clips, schemas.CLIP, "clips"),
        schemas.from_rows(questions, schemas.QUESTION, "questions"),
        folder,
    )


def jpegs(seed: int) -> list[bytes]:
    """Encode random frames as JPEG, as in the store."""
    encoded = []
    for frame in random_frames(seed, *SIZES[seed % len(SIZES)]):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=92)
        encoded.append(file.getvalue())
    return encoded


def training_config(**changes) -> config.TrainingConfig:
    """Return the training parameters of the embedded study, with changes."""
    return embedded().distill.training.model_copy(update=changes)


def lora_config(**changes) -> config.LoRAConfig:
    """Return the LoRA parameters of the embedded study with rank 4, with changes."""
    return embedded().distill.lora.model_copy(update={"rank": 4, **changes})


def adapted_student(precision=torch.float32, **options) -> LanguageModel:
    """Build a Qwen2-Audio student in training mode with a nonzero float32 adapter; `options` as in `lora_config`."""
    student = fresh_model("qwen2_audio")
    torch.manual_seed(0)
    adapters.add_lora(student, lora_config(**options))
    student.model.to(precision)
    for name, parameter in student.model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)  # initially zero
    student.train_mode()
    return student
