"""Every switch of `acceleration` gives the numbers of plain transformers and peft; all off changes nothing at all."""

import pytest
import torch

from synesthesia.acceleration import apply
from synesthesia.config import AccelerationConfig
from synesthesia.distillation import adapters
from synesthesia.distillation.step import EagerStep
from tests.helpers.tiny_checkpoints import FAMILIES, clip_inputs, fresh_model, lora_config, prompts, training_config

pytestmark = pytest.mark.torch
CLOSE = {"atol": 1e-5, "rtol": 1e-6}
INFERENCE = ["last_token_only", "varlen_attention", "crop_audio_encoder", "fused_qkv", "linear_patch_embed"]
TRAINING = ["last_token_only", "fused_kernels", "fused_lora", "flat_gradients", "cuda_graph"]


def only(switch: str) -> AccelerationConfig:
    return AccelerationConfig.off().model_copy(update={switch: True})


@pytest.mark.parametrize("family", FAMILIES)
def test_all_off_leaves_every_module_as_transformers_and_peft_define_it(family):
    model = fresh_model(family, AccelerationConfig.off())
    adapters.add_lora(model, lora_config())
    for name, module in model.model.named_modules():
        assert type(module).__module__.split(".")[0] in {"torch", "transformers", "peft"}, name
        assert "forward" not in vars(module), name
    assert not {"forward_at", "collate", "processor_inputs"} & vars(model).keys()
    assert not model.before_forward and not model.cpu_inputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switch", INFERENCE)
def test_a_switch_alone_gives_the_logits_of_plain_transformers(family, switch):
    plain, fast = fresh_model(family, AccelerationConfig.off()), fresh_model(family, only(switch))
    clips = clip_inputs(plain.condition)
    with torch.inference_mode():
        expected = plain.answer_logits(plain.collate(clips, prompts()))
        torch.testing.assert_close(fast.answer_logits(fast.collate(clips, prompts())), expected, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_switches_together_give_the_logits_of_plain_transformers(family):
    plain, fast = fresh_model(family, AccelerationConfig.off()), fresh_model(family)
    clips = clip_inputs(plain.condition)
    with torch.inference_mode():
        expected = plain.answer_logits(plain.collate(clips, prompts()))
        torch.testing.assert_close(fast.answer_logits(fast.collate(clips, prompts())), expected, **CLOSE)


def gradients(family: str, switches: AccelerationConfig) -> dict[str, torch.Tensor]:
    """Gradients of one micro-batch with labels and teacher logits, of an adapter that changes the logits."""
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
@pytest.mark.parametrize("switch", TRAINING)
def test_a_switch_alone_gives_the_gradients_of_plain_peft(family, switch):
    expected, found = gradients(family, AccelerationConfig.off()), gradients(family, only(switch))
    size = torch.stack([g.norm() for g in expected.values()]).norm()
    assert expected.keys() == found.keys() and size > 0
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * size, name


def test_apply_returns_the_model_and_keeps_the_switches():
    model = fresh_model("qwen2_vl", AccelerationConfig.off())
    assert apply(model, only("last_token_only")) is model
    assert model.acceleration == only("last_token_only")
