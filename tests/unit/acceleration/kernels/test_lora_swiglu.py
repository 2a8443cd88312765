"""Fused LoRA SwiGLU matches its unfused operations; its Triton kernels run in Triton's interpreter."""

import pytest
import torch

from synesthesia.acceleration.kernels.lora_swiglu import (
    LoraSwiGLUMLP,
    as_2d,
    is_supported,
    lora_swiglu,
    lora_swiglu_backward,
    patch_swiglu,
)
from synesthesia.acceleration.lora_grouped import build_lora_weights
from tests.helpers.tiny_checkpoints import adapted_student, clip_inputs, prompts
from tests.helpers.triton_interpreter import run_interpreted

pytestmark = pytest.mark.torch

COMPARE_KERNELS = """
import torch, triton.language
from synesthesia.acceleration.kernels import lora_swiglu_triton
lora_swiglu_triton.libdevice = triton.language  # the interpreter has no libdevice
lora_swiglu_triton.COLUMN_SPLITS = 2  # so that one split has several blocks of columns
from synesthesia.acceleration.kernels.lora_swiglu import as_2d, lora_swiglu, lora_swiglu_backward
float32, float16 = (torch.float32, 1e-5), (torch.float16, 1e-3)  # the interpreter has no bfloat16
for (dtype, tolerance), shape, width, rank in (
    (float32, (1,), 1, 16), (float32, (3, 11), 65, 16), (float32, (64,), 128, 32), (float32, (5, 1), 200, 16),
    (float16, (70,), 200, 16), (float16, (3,), 65, 64),
):
    torch.manual_seed(width)
    base_outputs = [torch.randn(*shape, width, dtype=dtype) for _ in range(2)]
    lora_hidden = torch.randn(*shape, 2 * rank, dtype=dtype).split(rank, -1)
    lora_b = [torch.randn(width, rank, dtype=dtype) for _ in range(2)]
    grad_product, product, *grads = (torch.full((*shape, width), torch.nan, dtype=dtype) for _ in range(4))
    grad_product.normal_()
    grad_down_hidden, down_a = torch.randn(*shape, rank, dtype=dtype), torch.randn(rank, width, dtype=dtype)
    hidden_2d = [as_2d(hidden) for hidden in lora_hidden]
    storage = lora_hidden[0].untyped_storage().data_ptr()
    assert all(hidden.untyped_storage().data_ptr() == storage for hidden in hidden_2d)
    lora_swiglu_triton.launch_forward(*base_outputs, *hidden_2d, *lora_b, product)
    grad_hidden = lora_swiglu_triton.launch_backward(
        grad_product, *base_outputs, as_2d(grad_down_hidden), *hidden_2d, down_a, *lora_b, *grads
    )
    expected = [lora_swiglu(*base_outputs, *lora_hidden, *lora_b, down_a)[0]]
    expected += lora_swiglu_backward(grad_product, grad_down_hidden, *base_outputs, *lora_hidden, *lora_b, down_a)
    actual = [product, *grads, grad_hidden.view(expected[-1].shape)]
    for a, e in zip(actual, expected, strict=True):
        assert (a.float() - e.float()).norm() < tolerance * e.float().norm()
    print("compared")
"""


def test_triton_kernels_match_reference_implementation():
    assert run_interpreted(COMPARE_KERNELS) == 6 * "compared\n"


def make_op_inputs(*shape, width=5, rank=2, dtype=torch.float64):
    """Draw the inputs of `lora_swiglu`, all of which require gradients."""
    sizes = [(*shape, width)] * 2 + [(*shape, rank)] * 2 + [(width, rank)] * 2 + [(rank, width)]
    return [torch.randn(size, dtype=dtype, requires_grad=True) for size in sizes]


def test_custom_ops_pass_opcheck():
    inputs = make_op_inputs(2, 3)
    torch.library.opcheck(lora_swiglu, inputs)
    torch.library.opcheck(lora_swiglu_backward, [t.detach() for t in (inputs[0], inputs[2], *inputs)])


def test_gradcheck_passes():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(lora_swiglu, make_op_inputs(2, 3))


def test_as_2d_copies_non_contiguous_rows():
    transposed = torch.randn(4, 3).T
    assert as_2d(transposed).is_contiguous() and torch.equal(as_2d(transposed), transposed)


def make_student(is_fused, precision=torch.float32, **options):
    student = adapted_student(precision, **options)
    if is_fused:
        patch_swiglu(student.decoder())
    lora_weights = build_lora_weights(student.model, grouped=True)
    lora_weights.refresh()
    return student, lora_weights, student.collate(clip_inputs("audio"), prompts())


def is_kernel_used(student):
    mlp = student.decoder().layers[0].mlp
    return isinstance(mlp, LoraSwiGLUMLP) and is_supported(mlp.gate_proj, mlp.up_proj, mlp.down_proj)


def run_forward_backward(is_fused, precision=torch.float32, **options):
    """Return the logits, all gradients as one vector, and whether the kernel supports the layers."""
    student, lora_weights, batch = make_student(is_fused, precision, **options)
    logits = student.answer_logits(batch)
    lora_weights.backward(logits.log_softmax(-1)[:, 32].sum())
    grads = torch.cat([p.grad.flatten() for p in student.model.parameters() if p.requires_grad])
    return logits.detach(), grads, is_kernel_used(student)


@pytest.mark.parametrize(
    ("options", "expects_kernel"),
    [({"rank": 16}, True), ({"rank": 4}, False), ({"rank": 24}, False), ({"rank": 128}, False),
     ({"rank": 16, "dropout": 0.5}, False), ({"rank": 16, "target_modules": ["up_proj", "down_proj"]}, False),
     ({"rank": 16, "target_modules": ["gate_proj", "up_proj"]}, False)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_student_logits_and_gradients_match_unpatched_model(options, expects_kernel):
    logits, grads, uses_kernel = run_forward_backward(True, **options)
    expected_logits, expected_grads, _ = run_forward_backward(False, **options)
    assert uses_kernel == expects_kernel
    torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)
    assert (grads - expected_grads).norm() < 1e-6 * expected_grads.norm()


def test_disabled_adapter_bypasses_fused_swiglu():
    all_logits = []
    for is_fused in (True, False):
        student, _, batch = make_student(is_fused, rank=16)
        with torch.no_grad(), student.model.disable_adapter():
            all_logits.append(student.answer_logits(batch))
            assert not is_kernel_used(student)
    assert torch.equal(*all_logits)


def test_bfloat16_results_are_bitwise_equal():
    logits, grads, _ = run_forward_backward(True, torch.bfloat16, rank=16)
    expected_logits, expected_grads, _ = run_forward_backward(False, torch.bfloat16, rank=16)
    assert torch.equal(logits, expected_logits)
    assert torch.equal(grads, expected_grads)
