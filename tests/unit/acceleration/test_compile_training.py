"""Compiled layers, as at the paper's size, answer and learn as those of the miniatures, which are not compiled.

What torch makes of the layers (their graphs, with both passes and any length) is run operation by operation: writing
kernels for them is torch's own affair, and takes a C++ compiler a minute. Each test computes in a process of its own:
tracing starts autograd's threads, and a process that has them can fork no learner.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from synesthesia.acceleration.compile import compile_model
from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.distillation import adapters
from tests.helpers.tiny_checkpoints import clip_inputs, fresh_model, lora_config, prompts

pytestmark = [pytest.mark.torch, pytest.mark.slow]


compile_to_kernels = torch.nn.Module.compile


def compile_to_graphs(module, dynamic, options):
    """Compilation up to the graphs, whole ones: a layer that torch has to cut is an error. Options are of kernels."""
    compile_to_kernels(module, backend="aot_eager", fullgraph=True, dynamic=dynamic)


def compile_layers(model):
    torch.nn.Module.compile = compile_to_graphs
    compile_model(model)
    assert model.is_compiled and all(layer._compiled_call_impl is not None for layer in model.decoder().layers)


@torch.inference_mode()
def answers(family):
    """All logits at the answer position, as it is and compiled."""
    model = fresh_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    plain = model.answer_logits(dict(batch))
    compile_layers(model)
    return plain.numpy(), model.answer_logits(dict(batch)).numpy()


def gradients(family):
    """Of the letters' cross entropy, in one row, as it is and compiled."""
    student = fresh_model(family)
    batch = student.collate(clip_inputs(student.condition), prompts())
    adapters.add_lora(student, lora_config(target_modules=r".*language_model.*\.(q|v|down)_proj"))
    learnt = [(name, weight) for name, weight in student.model.named_parameters() if weight.requires_grad]
    for name, weight in learnt:
        if "lora_B" in name:  # zero at first, and with it all gradients of the other half
            torch.nn.init.normal_(weight, std=0.1)
    student.train_mode()
    small = build_lora_weights(student.model, grouped=True)

    def found():
        student.model.zero_grad()
        small.refresh()
        logits = student.letter_logits(student.answer_logits(dict(batch)))
        small.backward(torch.nn.functional.cross_entropy(logits, torch.arange(len(logits))))
        return torch.cat([weight.grad.flatten() for _, weight in learnt]).numpy()

    plain = found()
    compile_layers(student)
    return plain, found()


@pytest.mark.parametrize(("numbers", "family"), [(answers, "qwen2_5_omni"), (gradients, "qwen2_audio")])
def test_compiled_layers_answer_and_learn_as_others_do(numbers, family):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as apart:
        plain, found = apart.submit(numbers, family).result()
    np.testing.assert_allclose(found, plain, atol=1e-5, rtol=0)
    assert np.abs(plain).max() > 1e-3
