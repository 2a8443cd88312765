"""An adapter downloaded from the registry answers like the student that it was saved from."""

from pathlib import Path

import pytest
import torch

from synesthesia import tracking
from synesthesia.distillation import adapters
from synesthesia.tracking import Record, RegisteredModel
from tests.helpers.tiny_checkpoints import checkpoint, clip_inputs, fresh_model, lora_config, prompts

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@torch.inference_mode()
def letter_logits(model):
    return model.letter_logits(model.answer_logits(model.collate(clip_inputs(model.condition), prompts())))


def test_an_adapter_loaded_by_its_alias_gives_the_same_answers(study):
    student = fresh_model("qwen2_audio")
    adapters.add_lora(student, lora_config())
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    student.model.eval()
    adapters.save(student, Path("out/distill/some/adapter"), base_checkpoint=str(checkpoint("qwen2_audio")))
    model = RegisteredModel("qwen2-audio-adapter", "out/distill/some/adapter", 0.9)
    tracking.log_records([Record("evaluate_students", "some", model=model)])
    loaded = adapters.load(fresh_model("qwen2_audio"), tracking.fetch_model("qwen2-audio-adapter", "best"))
    torch.testing.assert_close(letter_logits(loaded), letter_logits(student), atol=1e-5, rtol=0)
    assert letter_logits(loaded).argmax(1).tolist() == letter_logits(student).argmax(1).tolist()
