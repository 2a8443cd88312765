"""The gated product is what its steps give one by one; the GPU's kernel runs in triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from miniature import fresh, lora, percepts, prompts
from synesthesia.distillation import adapters
from synesthesia.distillation.gated_product import gated_gradients, gated_product, helps, in_rows, use_gated_product
from synesthesia.distillation.small_weights import small_weights

pytestmark = pytest.mark.torch

COMPARE = """
import torch, triton.language
from synesthesia.distillation import gated_kernel
gated_kernel.libdevice = triton.language  # which the interpreter has not
from synesthesia.distillation.gated_product import gated_gradients, gated_product, in_rows
for shape, width, rank in (((1,), 1, 16), ((3, 11), 65, 16), ((64,), 128, 32), ((5, 1), 200, 16)):
    torch.manual_seed(width)
    made = [torch.randn(*shape, width) for _ in range(2)]
    inner = torch.randn(*shape, 2 * rank).split(rank, -1)
    b = [torch.randn(width, rank) for _ in range(2)]
    coming, *outs = (torch.randn(*shape, width), *(torch.full((*shape, width), torch.nan) for _ in range(3)))
    rows = [in_rows(part) for part in inner]
    assert all(part.untyped_storage().data_ptr() == inner[0].untyped_storage().data_ptr() for part in rows)
    gated_kernel.launch(*made, *rows, *b, outs[0])
    torch.testing.assert_close(outs[0], gated_product(*made, *inner, *b), atol=1e-5, rtol=1e-5)
    parts = gated_kernel.launch_back(coming, *made, *rows, *b, *outs[1:])
    *expected, both = gated_gradients(coming, *made, *inner, *b)
    torch.testing.assert_close([*outs[1:], parts.view(both.shape)], [*expected, both], atol=1e-4, rtol=1e-5)
    print("compared")
"""


def test_the_kernel_computes_the_steps():
    pytest.importorskip("triton")
    told = {**os.environ, "TRITON_INTERPRET": "1"}  # read when the kernel is made
    done = subprocess.run([sys.executable, "-c", COMPARE], env=told, capture_output=True, text=True)
    assert done.stdout == 4 * "compared\n", done.stderr


def given(*shape, width=5, rank=2, kind=torch.float64):
    sizes = [(*shape, width)] * 2 + [(*shape, rank)] * 2 + [(width, rank)] * 2
    return [torch.randn(size, dtype=kind, requires_grad=True) for size in sizes]


def test_the_operations_say_of_their_outputs_what_they_are():
    torch.library.opcheck(gated_product, given(2, 3))
    torch.library.opcheck(gated_gradients, [torch.randn(2, 3, 5, dtype=torch.float64), *map(torch.detach, given(2, 3))])


def test_its_gradients_are_those_of_its_steps():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(gated_product, given(2, 3))


def test_rows_that_are_not_whole_are_copied():
    apart = torch.randn(4, 3).T
    assert in_rows(apart).is_contiguous() and torch.equal(in_rows(apart), apart)


def learnt(gated, rank, precision=torch.float32):
    student = fresh("qwen2_audio")
    torch.manual_seed(0)
    adapters.attach(student, lora(rank=rank))
    student.model.to(precision)
    for name, parameter in student.model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)
    if gated:
        use_gated_product(student.decoder())
    student.learn()
    small = small_weights(student.model, together=True)
    small.renew()
    logits = student.answer_logits(student.collate(percepts("audio"), prompts()))
    small.backward(logits.log_softmax(-1)[:, 32].sum())
    mlp = student.decoder().layers[0].mlp
    does = helps(mlp.gate_proj, mlp.up_proj)
    return logits.detach(), torch.cat([p.grad.flatten() for p in student.model.parameters() if p.requires_grad]), does


@pytest.mark.parametrize(("rank", "does"), [(16, True), (4, False), (24, False), (128, False)])
def test_a_student_learns_through_it_what_it_learns_in_transformers(rank, does):
    ours, found, did = learnt(True, rank)
    theirs, expected, _ = learnt(False, rank)
    assert did == does
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (found - expected).norm() < 1e-6 * expected.norm()


def test_in_bfloat16_every_step_is_rounded_as_alone():
    ours, found, _ = learnt(True, 16, torch.bfloat16)
    theirs, expected, _ = learnt(False, 16, torch.bfloat16)
    assert torch.equal(ours, theirs)
    assert torch.equal(found, expected)
