"""Every switch of `acceleration` matches plain transformers and peft; with all switches off, nothing is patched."""

import pytest
import torch

from synesthesia.acceleration import apply
from synesthesia.config import AccelerationConfig
from synesthesia.distillation import adapters
from synesthesia.distillation.step import EagerStep
from tests.helpers.tiny_checkpoints import FAMILIES, clip_inputs, fresh_model, lora_config, prompts, training_config

pytestmark = pytest.mark.torch
TOLERANCE = {"atol": 1e-5, "rtol": 1e-6}
INFERENCE_SWITCHES = ["last_token_only", "varlen_attention", "crop_audio_encoder", "fused_qkv", "linear_patch_embed"]
TRAINING_SWITCHES = ["last_token_only", "fused_kernels", "fused_lora", "flat_gradients", "cuda_graph"]


def enable_only(switch: str) -> AccelerationConfig:
    """Return the configuration in which only this switch is on."""
    return AccelerationConfig.off().model_copy(update={switch: True})


@pytest.mark.parametrize("family", FAMILIES)
def test_all_switches_off_patches_no_module(family):
    model = fresh_model(family, AccelerationConfig.off())
    adapters.add_lora(model, lora_config())
    for name, module in model.model.named_modules():
        assert type(module).__module__.split(".")[0] in {"torch", "transformers", "peft"}, name
        assert "forward" not in vars(module), name
    assert not {"forward_at", "collate", "processor_inputs"} & vars(model).keys()
    assert not model.before_forward and not model.cpu_inputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switch", INFERENCE_SWITCHES)
def test_single_switch_matches_logits_of_transformers(family, switch):
    plain, accelerated = fresh_model(family, AccelerationConfig.off()), fresh_model(family, enable_only(switch))
    clips = clip_inputs(plain.condition)
    with torch.inference_mode():
        expected = plain.answer_logits(plain.collate(clips, prompts()))
        logits = accelerated.answer_logits(accelerated.collate(clips, prompts()))
        torch.testing.assert_close(logits, expected, **TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_switches_match_logits_of_transformers(family):
    plain, accelerated = fresh_model(family, AccelerationConfig.off()), fresh_model(family)
    clips = clip_inputs(plain.condition)
    with torch.inference_mode():
        expected = plain.answer_logits(plain.collate(clips, prompts()))
        logits = accelerated.answer_logits(accelerated.collate(clips, prompts()))
        torch.testing.assert_close(logits, expected, **TOLERANCE)


def compute_gradients(family: str, switches: AccelerationConfig) -> dict[str, torch.Tensor]:
    """Return the gradients of a nonzero adapter for one micro-batch with labels and teacher logits, by parameter."""
    student = fresh_model(family, switches)
    torch.manual_seed(0)
    adapters.add_lora(student, lora_config())
    for name, parameter in student.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)
    student.train_mode()
    inputs = student.collate(clip_inputs(student.condition), prompts())
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1, -1, 3, 9])
    kl_mask = torch.tensor([True, True, True, False, False])
    teacher_logits = torch.randn(5, 10, generator=generator)
    batch = inputs, labels, kl_mask, teacher_logits, student.letter_ids.repeat(5, 1)
    EagerStep(student, training_config()).forward_backward(batch, 5)
    return {n: p.grad for n, p in student.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_vl"])
@pytest.mark.parametrize("switch", TRAINING_SWITCHES)
def test_single_switch_matches_gradients_of_peft(family, switch):
    expected = compute_gradients(family, AccelerationConfig.off())
    actual = compute_gradients(family, enable_only(switch))
    total_norm = torch.stack([grad.norm() for grad in expected.values()]).norm()
    assert expected.keys() == actual.keys() and total_norm > 0
    for name, grad in expected.items():
        assert (actual[name] - grad).norm() <= 1e-5 * total_norm, name


def test_apply_returns_the_model_and_stores_the_configuration():
    model = fresh_model("qwen2_vl", AccelerationConfig.off())
    assert apply(model, enable_only("last_token_only")) is model
    assert model.acceleration == enable_only("last_token_only")
