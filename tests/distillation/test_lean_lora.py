"""The leaner LoRA layer computes what peft's computes, and what it saves to disk is peft's."""

import pytest
import torch
from peft.tuners.lora import Linear

from miniature import fresh, lora, percepts, prompts
from synesthesia.distillation import adapters
from synesthesia.distillation.lean_lora import LeanLoraLinear, WorkingCopies, small_weights

pytestmark = pytest.mark.torch


def adapted(precision=torch.float32):
    student = fresh("qwen2_audio")
    torch.manual_seed(0)
    adapters.attach(student, lora())
    student.model.to(precision)
    for name, parameter in student.model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)  # not zero, as after some learning
    student.learn()
    return student


def pass_(student, together=False):
    """Logits, and the gradients after two backward passes."""
    small = small_weights(student.model, together)
    assert isinstance(small, WorkingCopies) == together
    return passes_(student, small, small)


def passes_(student, *smalls):
    for small in smalls:
        small.renew()
        logits = student.answer_logits(student.collate(percepts("audio"), prompts()))
        small.backward(logits.log_softmax(-1)[:, 32].sum())
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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_rounded_together_the_bits_are_those_of_rounding_in_each_layer(precision):
    alone, together = adapted(precision), adapted(precision)
    (expected, gradients), (logits, found) = pass_(alone), pass_(together, together=True)
    assert torch.equal(logits, expected)
    assert found.keys() == gradients.keys()
    assert all(torch.equal(gradient, gradients[name]) for name, gradient in found.items())


def test_copies_serve_learning_alone_and_follow_the_weights_once_renewed():
    student, other = adapted(torch.bfloat16), adapted(torch.bfloat16)
    before = pass_(student, together=True)[0]
    for each in (student, other):
        for name, parameter in each.model.named_parameters():
            if "lora_A" in name:
                parameter.data *= 3
                parameter.grad = None
    expected = pass_(other)[0]
    assert not torch.equal(before, expected)
    student.model.eval()  # answers with the weights as they are, whatever the copies hold
    with torch.inference_mode():
        assert torch.equal(student.answer_logits(student.collate(percepts("audio"), prompts())), expected)
    student.learn()
    assert torch.equal(pass_(student, together=True)[0], expected)


def test_two_that_round_the_same_weights_give_gradients_in_turn():
    student, expected = adapted(), pass_(adapted())[1]
    one, two = small_weights(student.model, together=True), small_weights(student.model, together=True)
    found = passes_(student, one, two)[1]
    assert found.keys() == expected.keys()
    assert all(torch.equal(gradient, expected[name]) for name, gradient in found.items())


def test_with_something_else_to_learn_each_layer_rounds_for_itself():
    student = adapted()
    student.decoder().norm.weight.requires_grad_()
    _, gradients = pass_(student)
    assert not isinstance(small_weights(student.model, together=True), WorkingCopies)
    assert any("norm" in name for name in gradients)


def test_in_bfloat16_the_adapters_weights_stay_float32_and_learn():
    _, gradients = pass_(adapted(torch.bfloat16), together=True)
    assert gradients
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
