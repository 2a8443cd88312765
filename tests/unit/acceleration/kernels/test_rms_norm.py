"""Fused norms are bitwise equal to those of transformers, including their gradients."""

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
from tests.helpers.triton_interpreter import run_interpreted

pytestmark = pytest.mark.torch


def patch_all_norms(model):
    for layer in model.layers():
        patch_norms(layer)


def reference_rms_norm(x, weight, eps):
    """Compute Qwen2RMSNorm's forward (transformers 5.17)."""
    x_float = x.to(torch.float32)
    x_float = x_float * torch.rsqrt(x_float.pow(2).mean(-1, keepdim=True) + eps)
    return weight * x_float.to(x.dtype)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@given(rows=st.integers(1, 4), width=st.integers(1, 40), is_weight_trainable=st.booleans(), seed=st.integers(0, 99))
def test_rms_norm_and_its_gradients_match_transformers(precision, rows, width, is_weight_trainable, seed):
    torch.manual_seed(seed)
    x, weight, grad_output = (torch.randn(size).to(precision) for size in ((2, rows, width), (width,), (rows, width)))
    inputs, reference_inputs = (
        [x.clone().requires_grad_(), weight.clone().requires_grad_(is_weight_trainable)] for _ in range(2)
    )
    output, expected = rms_norm(*inputs, 1e-6)[0], reference_rms_norm(*reference_inputs, 1e-6)
    assert torch.equal(output, expected)
    for result in (output, expected):
        (result * grad_output).sum().backward()
    assert torch.equal(inputs[0].grad, reference_inputs[0].grad)
    if is_weight_trainable:  # the sum over rows has another order
        torch.testing.assert_close(inputs[1].grad, reference_inputs[1].grad)
    else:
        assert inputs[1].grad is None


COMPARE_KERNEL = """
import torch
from synesthesia.acceleration.kernels import rms_norm_triton
from synesthesia.acceleration.kernels.rms_norm import rms_norm
for rows, width, dtype in ((16, 128, torch.float16), (17, 256, torch.float32), (40, 3584, torch.float16)):
    torch.manual_seed(rows)
    x, weight = (3 * torch.randn(2, rows, width)).to(dtype), torch.randn(width).to(dtype)
    assert rms_norm_triton.is_supported(x, weight) == (dtype == torch.float16)  # squares of float32 are rounded
    outputs = torch.full_like(x, torch.nan), torch.full((2, rows, 1), torch.nan)
    rms_norm_triton.launch(x, weight, 1e-6, *outputs)
    torch.testing.assert_close(outputs, rms_norm(x, weight, 1e-6), atol=2e-6, rtol=0.002)
    squares = (x.float().pow(2).view(2, rows, -1, 32, 4)).numpy()
    sums = squares[:, :, 0]
    for step in range(1, squares.shape[2]):
        sums = sums + squares[:, :, step]
    lanes = ((sums[..., 0] + sums[..., 1]) + sums[..., 2]) + sums[..., 3]
    while (half := lanes.shape[-1] // 2):
        lanes = lanes[..., :half] + lanes[..., half:]
    rstd = torch.rsqrt(torch.tensor(lanes) * (1 / width) + 1e-6)
    assert ((outputs[1] - rstd).abs() <= 1.2e-7 * rstd).all()  # 1 ulp, because of the interpreter's rsqrt
    print("compared")
for x in (torch.randn(15, 128), torch.randn(16, 100), torch.randn(128, 16).T, torch.randn(16, 8192)):
    assert not rms_norm_triton.is_supported(x.bfloat16(), torch.ones(x.shape[-1]).bfloat16())
assert not rms_norm_triton.is_supported(torch.randn(16, 128), torch.ones(128))
"""


def test_triton_kernel_sums_in_the_documented_order():
    assert run_interpreted(COMPARE_KERNEL) == 3 * "compared\n"


def test_custom_ops_pass_opcheck():
    x = torch.randn(2, 3, 8, requires_grad=True)
    torch.library.opcheck(rms_norm, (x, torch.rand(8), 1e-6))
    torch.library.opcheck(layer_norm, (x.detach(), torch.rand(8), torch.rand(8), 1e-5))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_patched_model_has_bitwise_equal_logits_and_gradients(family, precision):
    model = fresh_model(family)
    model.model.to(precision).requires_grad_(False)
    batch = model.collate(clip_inputs(model.condition)[:2], prompts()[:2])
    trainable_weight = model.decoder().layers[0].mlp.down_proj.weight.requires_grad_()

    def run_forward_backward():
        trainable_weight.grad = None
        logits = model.answer_logits(dict(batch))
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), trainable_weight.grad

    expected_logits, expected_grad = run_forward_backward()
    patch_all_norms(model)
    assert isinstance(model.decoder().layers[0].input_layernorm, FusedRMSNorm)
    logits, grad = run_forward_backward()
    assert torch.equal(logits, expected_logits)
    if precision == torch.bfloat16:
        assert torch.equal(grad, expected_grad)
    else:  # gradients at a residual connection are summed in another order
        torch.testing.assert_close(grad, expected_grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_patched_norms_share_one_class_to_avoid_recompilation(family):
    model = fresh_model(family)
    patch_all_norms(model)
    patch_all_norms(model)  # patching is idempotent
    norm_classes = {type(layer.input_layernorm) for layer in model.decoder().layers}
    assert len(norm_classes) == 1
    assert type(shared_model(family).decoder().layers[0].input_layernorm) not in norm_classes
