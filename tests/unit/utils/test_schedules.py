"""The cosine schedule against transformers'."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup

from synesthesia.utils.schedules import cosine_with_warmup

pytestmark = pytest.mark.torch


@settings(max_examples=60)
@given(num_steps=st.integers(2, 300), warmup_ratio=st.floats(0, 0.9))
def test_the_schedule_equals_transformers_except_that_its_warmup_is_one_step_ahead(num_steps, warmup_ratio):
    factors = [cosine_with_warmup(step, num_steps, warmup_ratio) for step in range(num_steps)]
    num_warmup_steps = max(1, round(warmup_ratio * num_steps))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps, num_steps).lr_lambdas[0]
    warmup = [reference(step + 1) for step in range(num_warmup_steps)]  # the reference is 0 at step 0
    assert factors == pytest.approx(
        warmup + [reference(step) for step in range(num_warmup_steps, num_steps)], abs=1e-12
    )
    assert all(0 < factor <= 1 for factor in factors)
    assert all(a >= b for a, b in zip(factors[num_warmup_steps:], factors[num_warmup_steps + 1 :], strict=False))


def test_the_peak_scales_the_schedule_and_the_end_is_zero():
    for step in range(10):
        assert cosine_with_warmup(step, 10, 0.2, peak=1e-3) == pytest.approx(1e-3 * cosine_with_warmup(step, 10, 0.2))
    assert cosine_with_warmup(2, 10, 0.2, peak=1e-3) == 1e-3
    assert cosine_with_warmup(10, 10, 0.2) == cosine_with_warmup(99, 10, 0.2) == 0
