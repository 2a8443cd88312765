"""The leaner LoRA layer computes what peft's computes, and what it saves to disk is peft's."""

import pytest
import torch
from peft.tuners.lora import Linear

from synesthesia.acceleration.lora_grouped import GroupedLoraWeights, StackedLoraA, build_lora_weights
from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear
from tests.helpers.tiny_checkpoints import adapted_student, clip_inputs, prompts

pytestmark = pytest.mark.torch


def pass_(student, together=False):
    """Logits, and the gradients after two backward passes."""
    small = build_lora_weights(student.model, together)
    assert isinstance(small, GroupedLoraWeights) == together
    return passes_(student, small, small)


def passes_(student, *smalls):
    for small in smalls:
        small.refresh()
        logits = student.answer_logits(student.collate(clip_inputs("audio"), prompts()))
        small.backward(logits.log_softmax(-1)[:, 32].sum())
    return logits.detach(), {n: p.grad for n, p in student.model.named_parameters() if p.grad is not None}


def apart(found, expected):
    """Norm of the difference over the norm of what was expected, of all gradients together."""
    assert found.keys() == expected.keys()
    found, expected = (torch.cat([g.flatten() for _, g in sorted(gs.items())]) for gs in (found, expected))
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("together", [False, True], ids=["each-for-itself", "together"])
def test_logits_and_gradients_in_float32_are_pefts(together):
    lean, peft = adapted_student(), adapted_student()
    changed = 0
    for module in peft.model.modules():
        if type(module) is MixedPrecisionLoraLinear:
            module.__class__ = Linear
            changed += 1
    assert changed == 7 * len(peft.decoder().layers)
    (ours, gradients), (theirs, expected) = pass_(lean, together), pass_(peft)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_rounded_together_gradients_are_as_near_to_float32_as_rounded_in_each_layer():
    exact, alone = pass_(adapted_student())[1], pass_(adapted_student(torch.bfloat16))[1]
    together = pass_(adapted_student(torch.bfloat16), together=True)[1]
    assert 1e-3 < apart(alone, exact) < 3e-2
    assert apart(together, exact) < 1.1 * apart(alone, exact)
    assert apart(together, alone) < apart(alone, exact)


def test_layers_with_one_input_share_a_product_and_another_input_in_between_changes_nothing(monkeypatch):
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 8, generator=random) for _ in range(2))
    weights = [torch.randn(rank, 8, generator=random) for rank in (2, 3)]
    down, products = StackedLoraA(weights, torch.float32), []
    for part, weight in zip(down.layer_slices, weights, strict=True):
        part.copy_(weight)
    linear = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w: products.append(x) or linear(x, w))
    for x, place, so_far in [(one, 0, 1), (one, 1, 1), (one, 1, 2), (other, 1, 3), (one, 0, 4), (one, 1, 4)]:
        torch.testing.assert_close(down.project(x, place), x @ weights[place].T)
        assert len(products) == so_far
    assert down._input is None and down._outputs == ()  # nothing is kept beyond the layer


def test_layers_with_dropout_of_their_own_share_nothing():
    sharing, random = adapted_student(), adapted_student(dropout=0.5)
    for student, products in ((sharing, 4), (random, 7)):  # of seven layers q, k, v and gate, up have one input each
        small = build_lora_weights(student.model, grouped=True)
        assert len(small._stacked_lora_a) == products * len(student.decoder().layers)


def test_copies_serve_learning_alone_and_follow_the_weights_once_refreshed():
    student, other, never = (adapted_student(torch.bfloat16) for _ in range(3))
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
        answered = [each.answer_logits(each.collate(clip_inputs("audio"), prompts())) for each in (student, never)]
    assert torch.equal(*answered)
    student.train_mode()
    assert torch.equal(pass_(student, together=True)[0], expected)


def test_two_that_round_the_same_weights_give_gradients_in_turn():
    student, expected = adapted_student(), pass_(adapted_student())[1]
    one, two = build_lora_weights(student.model, grouped=True), build_lora_weights(student.model, grouped=True)
    found = passes_(student, one, two)[1]
    assert apart(found, expected) < 1e-6


def test_with_something_else_to_learn_each_layer_rounds_for_itself():
    student = adapted_student()
    student.decoder().norm.weight.requires_grad_()
    _, gradients = pass_(student)
    assert not isinstance(build_lora_weights(student.model, grouped=True), GroupedLoraWeights)
    assert any("norm" in name for name in gradients)


def test_in_bfloat16_the_adapters_weights_stay_float32_and_learn():
    _, gradients = pass_(adapted_student(torch.bfloat16), together=True)
    assert gradients
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
