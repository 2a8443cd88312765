"""The leaner LoRA layer computes what peft's computes, and what it saves to disk is peft's."""

import pytest
import torch
from peft.tuners.lora import Linear

from miniature import fresh, lora, percepts, prompts
from synesthesia.distillation import adapters
from synesthesia.distillation.lean_lora import LeanLoraLinear
from synesthesia.distillation.small_weights import WorkingCopies, small_weights

pytestmark = pytest.mark.torch


def adapted(precision=torch.float32, **options):
    student = fresh("qwen2_audio")
    torch.manual_seed(0)
    adapters.attach(student, lora(**options))
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


def apart(found, expected):
    """Norm of the difference over the norm of what was expected, of all gradients together."""
    assert found.keys() == expected.keys()
    found, expected = (torch.cat([g.flatten() for _, g in sorted(gs.items())]) for gs in (found, expected))
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("together", [False, True], ids=["each-for-itself", "together"])
def test_logits_and_gradients_in_float32_are_pefts(together):
    lean, peft = adapted(), adapted()
    changed = 0
    for module in peft.model.modules():
        if type(module) is LeanLoraLinear:
            module.__class__ = Linear
            changed += 1
    assert changed == 7 * len(peft.decoder().layers)
    (ours, gradients), (theirs, expected) = pass_(lean, together), pass_(peft)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_rounded_together_gradients_are_as_near_to_float32_as_rounded_in_each_layer():
    exact, alone = pass_(adapted())[1], pass_(adapted(torch.bfloat16))[1]
    together = pass_(adapted(torch.bfloat16), together=True)[1]
    assert 1e-3 < apart(alone, exact) < 3e-2
    assert apart(together, exact) < 1.1 * apart(alone, exact)
    assert apart(together, alone) < apart(alone, exact)


def test_layers_with_dropout_of_their_own_round_for_themselves():
    random = adapted(dropout=0.5)
    small = small_weights(random.model, together=True)
    assert not isinstance(small, WorkingCopies)
    assert passes_(random, small)[1]


def test_of_seven_layers_four_products_are_made():
    student = adapted()
    small = small_weights(student.model, together=True)  # q, k and v have one input, gate and up another
    assert len(small._wide) == 4 * len(student.decoder().layers)


def test_copies_serve_learning_alone_and_follow_the_weights_once_renewed():
    student, other, never = (adapted(torch.bfloat16) for _ in range(3))
    before = pass_(student, together=True)[0]
    for each in (student, other, never):
        for name, parameter in each.model.named_parameters():
            if "lora_A" in name:
                parameter.data *= 3
                parameter.grad = None
    expected = pass_(other, together=True)[0]
    assert not torch.equal(before, expected)
    student.model.eval()  # answers with the weights as they are, whatever the copies hold
    with torch.inference_mode():
        answered = [each.answer_logits(each.collate(percepts("audio"), prompts())) for each in (student, never)]
    assert torch.equal(*answered)
    student.learn()
    assert torch.equal(pass_(student, together=True)[0], expected)


@pytest.mark.parametrize("kinds", [(True, True), (True, False), (False, True)], ids=["wide", "then-alone", "then-wide"])
def test_two_that_round_the_same_weights_give_gradients_in_turn(kinds):
    student, expected = adapted(), pass_(adapted())[1]
    one, two = (small_weights(student.model, together) for together in kinds)
    held = sum(weight.untyped_storage().nbytes() for weight in frozen(student))
    found = passes_(student, one, two)[1]
    assert apart(found, expected) < 1e-6
    assert sum(weight.untyped_storage().nbytes() for weight in frozen(student)) == held  # the weights moved once


def frozen(student):
    """One of each of the storages that the lean layers' frozen weights lie in."""
    layers = [module for module in student.model.modules() if type(module) is LeanLoraLinear]
    return {layer.base_layer.weight.untyped_storage().data_ptr(): layer.base_layer.weight for layer in layers}.values()


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
