"""Normalisations are transformers' own, to the bit, with their gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthesia.acceleration.kernels.rms_norm import (
    FusedRMSNorm,
    layer_norm,
    patch_norms,
    rms_norm,
)
from tests.helpers.tiny_checkpoints import FAMILIES, clip_inputs, fresh_model, prompts, shared_model
from tests.helpers.triton_interpreter import interpreted

pytestmark = pytest.mark.torch


def leave_norms(model):
    for layer in model.layers():
        patch_norms(layer)


def steps(values, weight, epsilon):
    """Qwen2RMSNorm's forward (transformers 5.17)."""
    wide = values.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(values.dtype)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@given(rows=st.integers(1, 4), width=st.integers(1, 40), learns=st.booleans(), seed=st.integers(0, 99))
def test_the_norm_and_its_gradients_are_transformers(precision, rows, width, learns, seed):
    torch.manual_seed(seed)
    values, weight, coming = (torch.randn(size).to(precision) for size in ((2, rows, width), (width,), (rows, width)))
    mine, theirs = ([values.clone().requires_grad_(), weight.clone().requires_grad_(learns)] for _ in range(2))
    found, expected = rms_norm(*mine, 1e-6)[0], steps(*theirs, 1e-6)
    assert torch.equal(found, expected)
    for made in (found, expected):
        (made * coming).sum().backward()
    assert torch.equal(mine[0].grad, theirs[0].grad)
    if learns:  # summed over the rows in another order
        torch.testing.assert_close(mine[1].grad, theirs[1].grad)
    else:
        assert mine[1].grad is None


COMPARE = """
import torch
from synesthesia.acceleration.kernels import rms_norm_triton
from synesthesia.acceleration.kernels.rms_norm import rms_norm
for rows, width, kind in ((16, 128, torch.float16), (17, 256, torch.float32), (40, 3584, torch.float16)):
    torch.manual_seed(rows)
    values, weight = (3 * torch.randn(2, rows, width)).to(kind), torch.randn(width).to(kind)
    assert rms_norm_triton.is_supported(values, weight) == (kind == torch.float16)  # float32's squares are not exact
    outs = torch.full_like(values, torch.nan), torch.full((2, rows, 1), torch.nan)
    rms_norm_triton.launch(values, weight, 1e-6, *outs)
    torch.testing.assert_close(outs, rms_norm(values, weight, 1e-6), atol=2e-6, rtol=0.002)
    whole = (values.float().pow(2).view(2, rows, -1, 32, 4)).numpy()
    sums = whole[:, :, 0]
    for step in range(1, whole.shape[2]):
        sums = sums + whole[:, :, step]
    lanes = ((sums[..., 0] + sums[..., 1]) + sums[..., 2]) + sums[..., 3]
    while (half := lanes.shape[-1] // 2):
        lanes = lanes[..., :half] + lanes[..., half:]
    scales = torch.rsqrt(torch.tensor(lanes) * (1 / width) + 1e-6)
    assert ((outs[1] - scales).abs() <= 1.2e-7 * scales).all()  # one in the last place: the interpreter's root
    print("compared")
for values in (torch.randn(15, 128), torch.randn(16, 100), torch.randn(128, 16).T, torch.randn(16, 8192)):
    assert not rms_norm_triton.is_supported(values.bfloat16(), torch.ones(values.shape[-1]).bfloat16())
assert not rms_norm_triton.is_supported(torch.randn(16, 128), torch.ones(128))
"""


def test_the_kernel_adds_up_in_its_order():
    assert interpreted(COMPARE) == 3 * "compared\n"


def test_both_operations_keep_torchs_rules_for_operations():
    values = torch.randn(2, 3, 8, requires_grad=True)
    torch.library.opcheck(rms_norm, (values, torch.rand(8), 1e-6))
    torch.library.opcheck(layer_norm, (values.detach(), torch.rand(8), torch.rand(8), 1e-5))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_gradients_are_the_same_bits(family, precision):
    model = fresh_model(family)
    model.model.to(precision).requires_grad_(False)
    batch = model.collate(clip_inputs(model.condition)[:2], prompts()[:2])
    learnt = model.decoder().layers[0].mlp.down_proj.weight.requires_grad_()

    def passed():
        learnt.grad = None
        logits = model.answer_logits(dict(batch))
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), learnt.grad

    logits, gradients = passed()
    leave_norms(model)
    assert isinstance(model.decoder().layers[0].input_layernorm, FusedRMSNorm)
    again, gradients_again = passed()
    assert torch.equal(again, logits)
    if precision == torch.bfloat16:
        assert torch.equal(gradients_again, gradients)
    else:  # a residual's gradients are added up in another order
        torch.testing.assert_close(gradients_again, gradients, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_norms_of_all_layers_are_of_one_class_so_that_one_compilation_serves_them(family):
    model = fresh_model(family)
    leave_norms(model)
    leave_norms(model)  # again changes nothing
    kinds = {type(layer.input_layernorm) for layer in model.decoder().layers}
    assert len(kinds) == 1
    assert type(shared_model(family).decoder().layers[0].input_layernorm) not in kinds
