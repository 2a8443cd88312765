"""The two losses against references written out by hand in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup

from synesthesia.distillation.losses import kl_divergence, letter_cross_entropy
from synesthesia.distillation.trainer import compute_learning_rate, make_sample_order
from tests.helpers.tiny_checkpoints import training

pytestmark = pytest.mark.torch
few = settings(max_examples=60)
temperatures = st.floats(0.25, 20)
seeds = st.integers(0, 2**31)


def drawn(seed, rows=4, options=10, spread=3.0):
    """Random letter logits float32 (rows, 10), -inf beyond `options`."""
    made = torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed)) * spread
    made[:, options:] = -torch.inf
    return made


def softmax(row):
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    return [p / sum(powers) for p in powers]


def divergence_by_hand(student, teacher, temperature):
    """T^2 sum p log(p / q) over the options of one clip."""
    kept = [i for i, x in enumerate(teacher) if x != -math.inf]
    p = softmax([teacher[i] / temperature for i in kept])
    q = softmax([student[i] / temperature for i in kept])
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@few
@given(seed=seeds, temperature=temperatures, options=st.integers(2, 10))
def test_divergence_equals_the_formula_summed_over_the_soft_clips(seed, temperature, options):
    student, teacher = drawn(seed), drawn(seed + 1, options=options)
    soft = torch.tensor([True, False, True, False])
    expected = sum(divergence_by_hand(student[i].tolist(), teacher[i].tolist(), temperature) for i in (0, 2))
    assert kl_divergence(student, teacher, soft, temperature).item() == pytest.approx(expected, rel=2e-4, abs=2e-4)


@few
@given(seed=seeds, temperature=temperatures)
def test_divergence_is_never_negative_and_zero_between_equals_up_to_a_constant(seed, temperature):
    student, soft = drawn(seed), torch.ones(4, dtype=torch.bool)
    scale = 1e-5 * temperature**2
    assert kl_divergence(student, drawn(seed + 1), soft, temperature) >= -scale
    for shift in (0.0, 5.0):
        assert abs(kl_divergence(student + shift, student, soft, temperature)) <= scale


def test_the_factor_of_the_squared_temperature_keeps_the_gradients_size():
    teacher, soft = drawn(1, spread=0.5), torch.ones(4, dtype=torch.bool)
    sizes = []
    for temperature in (10.0, 20.0, 40.0):
        student = drawn(0, spread=0.5).requires_grad_()
        kl_divergence(student, teacher, soft, temperature).backward()
        sizes.append(student.grad.norm().item())
    assert max(sizes) < 1.02 * min(sizes)
    one = kl_divergence(drawn(0), drawn(1), soft, 1.0)
    assert kl_divergence(3 * drawn(0), 3 * drawn(1), soft, 3.0).item() == pytest.approx(9 * one.item(), rel=1e-5)


@few
@given(seed=seeds, options=st.integers(2, 9), wild=st.floats(-1e4, 1e4))
def test_letters_beyond_the_options_change_nothing_and_get_no_gradient(seed, options, wild):
    teacher, soft = drawn(seed, options=options), torch.ones(4, dtype=torch.bool)
    student = drawn(seed + 1)
    other = student.clone()
    other[:, options:] = wild
    losses = []
    for given_logits in (student, other):
        given_logits.requires_grad_()
        losses.append(kl_divergence(given_logits, teacher, soft, 2.0))
        losses[-1].backward()
        assert given_logits.grad.isfinite().all()
        assert (given_logits.grad[:, options:] == 0).all()
    assert losses[0].item() == losses[1].item()


@few
@given(seed=seeds, temperature=temperatures)
def test_the_divergences_gradient_is_the_difference_of_the_two_distributions(seed, temperature):
    student, teacher = drawn(seed).double().requires_grad_(), drawn(seed + 1).double()
    kl_divergence(student, teacher, torch.ones(4, dtype=torch.bool), temperature).backward()
    expected = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(student.grad, expected.detach(), atol=1e-8, rtol=1e-6)


def test_extreme_logits_keep_loss_and_gradient_finite():
    student, teacher = (drawn(i, options=5, spread=3e4) for i in range(2))
    student = student.nan_to_num(neginf=-3e4).requires_grad_()
    loss = kl_divergence(student, teacher, torch.ones(4, dtype=torch.bool), 0.5)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@few
@given(seed=seeds)
def test_cross_entropy_equals_the_formula_over_the_whole_vocabulary(seed):
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(seed)) * 4
    tokens, taught = torch.tensor([3, 49, 0, 7]), torch.tensor([True, True, False, True])
    expected = sum(-math.log(softmax(logits[i].tolist())[tokens[i]]) for i in (0, 1, 3))
    assert letter_cross_entropy(logits, tokens, taught).item() == pytest.approx(expected, rel=1e-4)


def test_a_batch_that_teaches_nothing_gives_a_zero_that_can_be_differentiated():
    none = torch.zeros(4, dtype=torch.bool)
    logits = drawn(0).requires_grad_()
    loss = letter_cross_entropy(logits, torch.zeros(4, dtype=torch.int64), none)
    loss = loss + kl_divergence(logits, torch.zeros(4, 10), none, 2.0)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@few
@given(steps=st.integers(2, 300), warmup=st.floats(0, 0.9))
def test_the_schedule_equals_transformers_but_starts_a_step_later_on_the_ramp(steps, warmup):
    given_training = training(learning_rate=1.0, warmup=warmup)
    found = [compute_learning_rate(step, steps, given_training) for step in range(steps)]
    warm = max(1, round(warmup * steps))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, warm, steps).lr_lambdas[0]
    ramp = [theirs(step + 1) for step in range(warm)]  # theirs learns nothing in step 0
    assert found == pytest.approx(ramp + [theirs(step) for step in range(warm, steps)], abs=1e-12)
    assert all(0 < rate <= 1 for rate in found)
    assert all(a >= b for a, b in zip(found[warm:], found[warm + 1 :], strict=False))


@few
@given(clips=st.integers(1, 60), epochs=st.sampled_from([0.5, 1.0, 1.5, 3.0]), seed=st.integers(0, 999))
def test_every_epoch_is_another_permutation(clips, epochs, seed):
    if round(clips * epochs) == 0:
        return
    found = make_sample_order(clips, training(epochs=epochs, seed=seed))
    assert len(found) == round(clips * epochs)
    rounds = [found[i : i + clips] for i in range(0, len(found), clips)]
    for one in rounds:
        assert len(set(one)) == len(one)
        assert set(one) <= set(range(clips))
    if epochs == 3 and clips > 8:
        assert not np.array_equal(rounds[0], rounds[1])
    assert np.array_equal(found, make_sample_order(clips, training(epochs=epochs, seed=seed)))
    longer = make_sample_order(clips, training(epochs=epochs + 1, seed=seed))
    assert np.array_equal(found, longer[: len(found)])
