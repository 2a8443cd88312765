"""Weights in the repository: they load, are small, and are not pickled."""

from pathlib import Path

import pytest
import torch

from synesthesia import config, models
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.distillation import switch
from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from tests.helpers.tiny_checkpoints import ROOT, random_audio, random_frames

pytestmark = pytest.mark.torch
WEIGHTS = ROOT / "src/synesthesia/synthetic/weights"
CONFIG = config.load(ROOT / "params/embedded.yaml")


def checkpoint_folder(checkpoint: str) -> Path:
    folder = ROOT / checkpoint
    assert folder.is_relative_to(WEIGHTS)
    return folder


@pytest.mark.parametrize("name", CONFIG.models)
@torch.inference_mode()
def test_each_configured_model_loads_and_answers(name):
    model_config = CONFIG.models[name]
    model = models.load_model(
        model_config.model_copy(update={"checkpoint": str(checkpoint_folder(model_config.checkpoint))})
    )
    assert model.condition == model_config.condition
    assert [model.tokenizer.decode([i]) for i in model.letter_ids.tolist()] == list(LETTERS)
    clips = [ClipInputs(random_audio(i), random_frames(i, 10, 84, 112)) for i in range(2)]
    options = ["dog barking", "sea waves", "playing drums"]
    logits = model.answer_logits(model.collate(clips, [format_prompt(options)] * 2))
    assert logits.isfinite().all()
    assert model.greedy_token(logits)[0] in LETTERS


def test_switch_loads():
    network = switch.Switch.from_pretrained(checkpoint_folder(CONFIG.train_switch.checkpoint))
    assert network(network.compute_log_mel(torch.from_numpy(random_audio(0))[None])).isfinite().all()


def test_weights_take_at_most_25_megabytes():
    files = list(WEIGHTS.rglob("*.safetensors"))
    assert len(files) >= 4
    assert sum(file.stat().st_size for file in files) <= 25e6


def test_no_weights_are_pickled():
    pickled = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}
    assert not [file for file in WEIGHTS.rglob("*") if file.suffix in pickled]
