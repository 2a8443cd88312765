"""LoRA layers without float32 casts, and grouped LoRA weights, match peft."""

import pytest
import torch
from peft.tuners.lora import Linear

from synesthesia.acceleration.lora_grouped import GroupedLoraWeights, StackedLoraA, build_lora_weights
from synesthesia.acceleration.lora_linear import MixedPrecisionLoraLinear
from tests.helpers.tiny_checkpoints import adapted_student, clip_inputs, prompts

pytestmark = pytest.mark.torch


def run_forward_backward(student, grouped=False):
    """Return the logits, and the gradients accumulated over two backward passes."""
    lora_weights = build_lora_weights(student.model, grouped)
    assert isinstance(lora_weights, GroupedLoraWeights) == grouped
    return accumulate_gradients(student, lora_weights, lora_weights)


def accumulate_gradients(student, *lora_weights):
    """Run one forward and backward pass per element of `lora_weights`; return the last logits and the gradients."""
    for weights in lora_weights:
        weights.refresh()
        logits = student.answer_logits(student.collate(clip_inputs("audio"), prompts()))
        weights.backward(logits.log_softmax(-1)[:, 32].sum())
    return logits.detach(), {n: p.grad for n, p in student.model.named_parameters() if p.grad is not None}


def relative_error(actual, expected):
    """Return the norm of the difference of all gradients, relative to the norm of the expected ones."""
    assert actual.keys() == expected.keys()
    actual, expected = (torch.cat([g.flatten() for _, g in sorted(grads.items())]) for grads in (actual, expected))
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("grouped", [False, True], ids=["per-layer", "grouped"])
def test_float32_logits_and_gradients_match_peft(grouped):
    student, peft_student = adapted_student(), adapted_student()
    num_replaced = 0
    for module in peft_student.model.modules():
        if type(module) is MixedPrecisionLoraLinear:
            module.__class__ = Linear
            num_replaced += 1
    assert num_replaced == 7 * len(peft_student.decoder().layers)
    logits, grads = run_forward_backward(student, grouped)
    expected_logits, expected_grads = run_forward_backward(peft_student)
    torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-6)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], atol=1e-5, rtol=1e-4)


def test_grouped_bfloat16_gradients_are_as_accurate_as_per_layer_ones():
    exact = run_forward_backward(adapted_student())[1]
    per_layer = run_forward_backward(adapted_student(torch.bfloat16))[1]
    grouped = run_forward_backward(adapted_student(torch.bfloat16), grouped=True)[1]
    assert 1e-3 < relative_error(per_layer, exact) < 3e-2
    assert relative_error(grouped, exact) < 1.1 * relative_error(per_layer, exact)
    assert relative_error(grouped, per_layer) < relative_error(per_layer, exact)


def test_stacked_lora_a_computes_one_product_per_input(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    first_input, second_input = (torch.randn(5, 8, generator=generator) for _ in range(2))
    weights = [torch.randn(rank, 8, generator=generator) for rank in (2, 3)]
    stacked, linear_calls = StackedLoraA(weights, torch.float32), []
    for layer_slice, weight in zip(stacked.layer_slices, weights, strict=True):
        layer_slice.copy_(weight)
    linear = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w: linear_calls.append(x) or linear(x, w))
    for x, index, expected_calls in [
        (first_input, 0, 1), (first_input, 1, 1), (first_input, 1, 2),
        (second_input, 1, 3), (first_input, 0, 4), (first_input, 1, 4),
    ]:  # fmt: skip
        torch.testing.assert_close(stacked.project(x, index), x @ weights[index].T)
        assert len(linear_calls) == expected_calls
    assert stacked._input is None and stacked._outputs == ()  # released after the last layer


def test_layers_with_dropout_are_not_stacked():
    student, dropout_student = adapted_student(), adapted_student(dropout=0.5)
    for each, num_stacks in ((student, 4), (dropout_student, 7)):  # of 7 layers, q/k/v and gate/up share their inputs
        lora_weights = build_lora_weights(each.model, grouped=True)
        assert len(lora_weights._stacked_lora_a) == num_stacks * len(each.decoder().layers)


def test_rounded_copies_are_used_only_in_training_and_updated_by_refresh():
    student, reference, ungrouped = (adapted_student(torch.bfloat16) for _ in range(3))
    original_logits = run_forward_backward(student, grouped=True)[0]
    for each in (student, reference, ungrouped):
        for name, parameter in each.model.named_parameters():
            if "lora_A" in name:
                parameter.data *= 3
                parameter.grad = None
    expected = run_forward_backward(reference, grouped=True)[0]
    assert not torch.equal(original_logits, expected)
    student.model.eval()  # evaluation uses the current weights, not the outdated copies
    with torch.inference_mode():
        eval_logits = [
            each.answer_logits(each.collate(clip_inputs("audio"), prompts())) for each in (student, ungrouped)
        ]
    assert torch.equal(*eval_logits)
    student.train_mode()
    assert torch.equal(run_forward_backward(student, grouped=True)[0], expected)


def test_two_groups_of_the_same_weights_accumulate_gradients():
    student, expected = adapted_student(), run_forward_backward(adapted_student())[1]
    first, second = build_lora_weights(student.model, grouped=True), build_lora_weights(student.model, grouped=True)
    grads = accumulate_gradients(student, first, second)[1]
    assert relative_error(grads, expected) < 1e-6


def test_trainable_parameters_outside_the_adapter_disable_grouping():
    student = adapted_student()
    student.decoder().norm.weight.requires_grad_()
    _, grads = run_forward_backward(student)
    assert not isinstance(build_lora_weights(student.model, grouped=True), GroupedLoraWeights)
    assert any("norm" in name for name in grads)


def test_adapter_gradients_are_float32_in_a_bfloat16_model():
    _, grads = run_forward_backward(adapted_student(torch.bfloat16), grouped=True)
    assert grads
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads.values())
