"""Cross-entropy, KL divergence, and distillation loss match scalar reference implementations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.distillation.losses import distillation_loss, kl_divergence, letter_cross_entropy

pytestmark = pytest.mark.torch
fewer_examples = settings(max_examples=60)
temperatures = st.floats(0.25, 20)
seeds = st.integers(0, 2**31)


def random_logits(seed, num_clips=4, num_options=10, std=3.0):
    """Draw letter logits, float32 (num_clips, 10), -inf beyond `num_options`."""
    logits = torch.randn(num_clips, 10, generator=torch.Generator().manual_seed(seed)) * std
    logits[:, num_options:] = -torch.inf
    return logits


def softmax(row):
    max_logit = max(row)
    exponentials = [math.exp(x - max_logit) for x in row]
    return [e / sum(exponentials) for e in exponentials]


def reference_kl_divergence(student, teacher, temperature):
    """Compute T^2 sum p log(p / q) over the options of one clip."""
    options = [i for i, x in enumerate(teacher) if x != -math.inf]
    p = softmax([teacher[i] / temperature for i in options])
    q = softmax([student[i] / temperature for i in options])
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@fewer_examples
@given(seed=seeds, temperature=temperatures, num_options=st.integers(2, 10))
def test_kl_divergence_matches_reference_summed_over_masked_clips(seed, temperature, num_options):
    student, teacher = random_logits(seed), random_logits(seed + 1, num_options=num_options)
    kl_mask = torch.tensor([True, False, True, False])
    expected = sum(reference_kl_divergence(student[i].tolist(), teacher[i].tolist(), temperature) for i in (0, 2))
    assert kl_divergence(student, teacher, kl_mask, temperature).item() == pytest.approx(expected, rel=2e-4, abs=2e-4)


@fewer_examples
@given(seed=seeds, temperature=temperatures)
def test_kl_divergence_is_nonnegative_and_shift_invariant(seed, temperature):
    student, kl_mask = random_logits(seed), torch.ones(4, dtype=torch.bool)
    tolerance = 1e-5 * temperature**2
    assert kl_divergence(student, random_logits(seed + 1), kl_mask, temperature) >= -tolerance
    for shift in (0.0, 5.0):
        assert abs(kl_divergence(student + shift, student, kl_mask, temperature)) <= tolerance


def test_squared_temperature_preserves_gradient_norm():
    teacher, kl_mask = random_logits(1, std=0.5), torch.ones(4, dtype=torch.bool)
    norms = []
    for temperature in (10.0, 20.0, 40.0):
        student = random_logits(0, std=0.5).requires_grad_()
        kl_divergence(student, teacher, kl_mask, temperature).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) < 1.02 * min(norms)
    base_loss = kl_divergence(random_logits(0), random_logits(1), kl_mask, 1.0)
    assert kl_divergence(3 * random_logits(0), 3 * random_logits(1), kl_mask, 3.0).item() == pytest.approx(
        9 * base_loss.item(), rel=1e-5
    )


@fewer_examples
@given(seed=seeds, num_options=st.integers(2, 9), value=st.floats(-1e4, 1e4))
def test_letters_beyond_the_options_affect_neither_loss_nor_gradient(seed, num_options, value):
    teacher, kl_mask = random_logits(seed, num_options=num_options), torch.ones(4, dtype=torch.bool)
    student = random_logits(seed + 1)
    modified = student.clone()
    modified[:, num_options:] = value
    losses = []
    for logits in (student, modified):
        logits.requires_grad_()
        losses.append(kl_divergence(logits, teacher, kl_mask, 2.0))
        losses[-1].backward()
        assert logits.grad.isfinite().all()
        assert (logits.grad[:, num_options:] == 0).all()
    assert losses[0].item() == losses[1].item()


@fewer_examples
@given(seed=seeds, temperature=temperatures)
def test_gradient_of_kl_divergence_is_difference_of_probabilities(seed, temperature):
    student, teacher = random_logits(seed).double().requires_grad_(), random_logits(seed + 1).double()
    kl_divergence(student, teacher, torch.ones(4, dtype=torch.bool), temperature).backward()
    expected = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(student.grad, expected.detach(), atol=1e-8, rtol=1e-6)


def test_loss_and_gradient_are_finite_for_extreme_logits():
    student, teacher = (random_logits(i, num_options=5, std=3e4) for i in range(2))
    student = student.nan_to_num(neginf=-3e4).requires_grad_()
    loss = kl_divergence(student, teacher, torch.ones(4, dtype=torch.bool), 0.5)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@fewer_examples
@given(seed=seeds)
def test_cross_entropy_matches_reference_over_the_full_vocabulary(seed):
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(seed)) * 4
    target_ids, label_mask = torch.tensor([3, 49, 0, 7]), torch.tensor([True, True, False, True])
    expected = sum(-math.log(softmax(logits[i].tolist())[target_ids[i]]) for i in (0, 1, 3))
    assert letter_cross_entropy(logits, target_ids, label_mask).item() == pytest.approx(expected, rel=1e-4)


def test_batch_without_targets_has_differentiable_zero_loss():
    empty_mask = torch.zeros(4, dtype=torch.bool)
    logits = random_logits(0).requires_grad_()
    loss = letter_cross_entropy(logits, torch.zeros(4, dtype=torch.int64), empty_mask)
    loss = loss + kl_divergence(logits, torch.zeros(4, 10), empty_mask, 2.0)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_distillation_loss_is_weighted_and_normalized():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 50, generator=generator).requires_grad_()
    token_ids = torch.randint(50, (4, 10), generator=generator)
    target_ids, label_mask = torch.tensor([3, 49, 0, 7]), torch.tensor([True, True, False, True])
    teacher_logits, kl_mask = random_logits(1, num_options=6), torch.tensor([True, False, True, True])
    loss, parts = distillation_loss(
        logits,
        target_ids,
        label_mask,
        teacher_logits,
        token_ids,
        kl_mask,
        kl_weight=0.7,
        temperature=2.0,
        normalize=lambda total: total / 8,
    )
    cross_entropy = letter_cross_entropy(logits, target_ids, label_mask) / 8
    kl = kl_divergence(logits.gather(1, token_ids), teacher_logits, kl_mask, 2.0) / 8
    assert torch.equal(loss, cross_entropy + 0.7 * kl)
    assert torch.equal(parts, torch.stack([cross_entropy, kl]))
    assert (loss.requires_grad, parts.requires_grad, parts.dtype) == (True, False, torch.float32)
