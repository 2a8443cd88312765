"""The gated product is what its steps give one by one; the GPU's kernel runs in triton's interpreter."""

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
from tests.helpers.triton_interpreter import interpreted

pytestmark = pytest.mark.torch

COMPARE = """
import torch, triton.language
from synesthesia.acceleration.kernels import lora_swiglu_triton
lora_swiglu_triton.libdevice = triton.language  # which the interpreter has not
lora_swiglu_triton.COLUMN_SPLITS = 2  # so that one has several blocks of columns
from synesthesia.acceleration.kernels.lora_swiglu import as_2d, lora_swiglu, lora_swiglu_backward
exact, half = (torch.float32, 1e-5), (torch.float16, 1e-3)  # the interpreter has no bfloat16
for (kind, near), shape, width, rank in (
    (exact, (1,), 1, 16), (exact, (3, 11), 65, 16), (exact, (64,), 128, 32), (exact, (5, 1), 200, 16),
    (half, (70,), 200, 16), (half, (3,), 65, 64),
):
    torch.manual_seed(width)
    made = [torch.randn(*shape, width, dtype=kind) for _ in range(2)]
    inner = torch.randn(*shape, 2 * rank, dtype=kind).split(rank, -1)
    weights = [torch.randn(width, rank, dtype=kind) for _ in range(2)]
    coming, product, *gradients = (torch.full((*shape, width), torch.nan, dtype=kind) for _ in range(4))
    coming.normal_()
    coming_inner, down_a = torch.randn(*shape, rank, dtype=kind), torch.randn(rank, width, dtype=kind)
    rows = [as_2d(part) for part in inner]
    assert all(part.untyped_storage().data_ptr() == inner[0].untyped_storage().data_ptr() for part in rows)
    lora_swiglu_triton.launch_forward(*made, *rows, *weights, product)
    parts = lora_swiglu_triton.launch_backward(coming, *made, as_2d(coming_inner), *rows, down_a, *weights, *gradients)
    expected = [lora_swiglu(*made, *inner, *weights, down_a)[0]]
    expected += lora_swiglu_backward(coming, coming_inner, *made, *inner, *weights, down_a)
    for ours, theirs in zip([product, *gradients, parts.view(expected[-1].shape)], expected, strict=True):
        assert (ours.float() - theirs.float()).norm() < near * theirs.float().norm()
    print("compared")
"""


def test_the_kernels_compute_the_steps():
    assert interpreted(COMPARE) == 6 * "compared\n"


def given(*shape, width=5, rank=2, kind=torch.float64):
    sizes = [(*shape, width)] * 2 + [(*shape, rank)] * 2 + [(width, rank)] * 2 + [(rank, width)]
    return [torch.randn(size, dtype=kind, requires_grad=True) for size in sizes]


def test_the_operations_say_of_their_outputs_what_they_are():
    values = given(2, 3)
    torch.library.opcheck(lora_swiglu, values)
    torch.library.opcheck(lora_swiglu_backward, [value.detach() for value in (values[0], values[2], *values)])


def test_its_gradients_are_those_of_its_steps():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(lora_swiglu, given(2, 3))


def test_rows_that_are_not_whole_are_copied():
    apart = torch.randn(4, 3).T
    assert as_2d(apart).is_contiguous() and torch.equal(as_2d(apart), apart)


def learnt(gated, precision=torch.float32, without=False, **options):
    """Logits, gradients, and whether the gated product serves; `without`: as if there were no adapter."""
    student = adapted_student(precision, **options)
    if gated:
        patch_swiglu(student.decoder())
    small = build_lora_weights(student.model, grouped=True)
    small.refresh()
    mlp = student.decoder().layers[0].mlp

    def does():
        return isinstance(mlp, LoraSwiGLUMLP) and is_supported(mlp.gate_proj, mlp.up_proj, mlp.down_proj)

    batch = student.collate(clip_inputs("audio"), prompts())
    if without:
        with torch.no_grad(), student.model.disable_adapter():
            return student.answer_logits(batch), does()
    logits = student.answer_logits(batch)
    small.backward(logits.log_softmax(-1)[:, 32].sum())
    gradients = torch.cat([p.grad.flatten() for p in student.model.parameters() if p.requires_grad])
    return logits.detach(), gradients, does()


@pytest.mark.parametrize(
    ("options", "does"),
    [({"rank": 16}, True), ({"rank": 4}, False), ({"rank": 24}, False), ({"rank": 128}, False),
     ({"rank": 16, "dropout": 0.5}, False), ({"rank": 16, "target_modules": ["up_proj", "down_proj"]}, False),
     ({"rank": 16, "target_modules": ["gate_proj", "up_proj"]}, False)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_student_learns_through_it_what_it_learns_in_transformers(options, does):
    ours, found, did = learnt(True, **options)
    theirs, expected, _ = learnt(False, **options)
    assert did == does
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (found - expected).norm() < 1e-6 * expected.norm()


def test_without_its_adapter_a_learning_student_does_without_the_product():
    (ours, did), (theirs, _) = (learnt(gated, rank=16, without=True) for gated in (True, False))
    assert torch.equal(ours, theirs) and not did


def test_in_bfloat16_every_step_is_rounded_as_alone():
    ours, found, _ = learnt(True, torch.bfloat16, rank=16)
    theirs, expected, _ = learnt(False, torch.bfloat16, rank=16)
    assert torch.equal(ours, theirs)
    assert torch.equal(found, expected)
