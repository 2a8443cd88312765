"""The leaner LoRA layer computes what peft's computes, and what it saves to disk is peft's."""

import pytest
import torch
from peft.tuners.lora import Linear

from miniature import fresh, lora, percepts, prompts
from synesthesia.distillation import adapters
from synesthesia.distillation.lean_lora import LeanLoraLinear

pytestmark = pytest.mark.torch


def adapted():
    student = fresh("qwen2_audio")
    torch.manual_seed(0)
    adapters.attach(student, lora())
    for name, parameter in student.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)  # not zero, as after some learning
    return student


def pass_(student):
    batch = student.collate(percepts("audio"), prompts())
    logits = student.answer_logits(batch)
    logits.log_softmax(-1)[:, 32].sum().backward()
    return logits.detach(), {n: p.grad for n, p in student.model.named_parameters() if p.grad is not None}


def test_logits_and_gradients_in_float32_are_pefts():
    lean, peft = adapted(), adapted()
    changed = 0
    for module in peft.model.modules():
        if type(module) is LeanLoraLinear:
            module.__class__ = Linear
            changed += 1
    assert changed == 7 * len(peft.decoder().layers)
    (ours, gradients), (theirs, expected) = pass_(lean), pass_(peft)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_in_bfloat16_the_adapters_weights_stay_float32_and_learn():
    student = adapted()
    student.model.to(torch.bfloat16)
    for name, parameter in student.model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    _, gradients = pass_(student)
    assert gradients
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
