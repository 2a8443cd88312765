"""Compiled layers match eager layers, in inference and in training.

The graphs that torch.compile captures, with forward and backward passes and dynamic shapes, run in eager mode
(`aot_eager`): generating kernels is torch's responsibility, and takes a C++ compiler a minute. Each test runs in a
process of its own, because tracing starts autograd's threads, after which this process could no longer fork training
processes.
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


original_compile = torch.nn.Module.compile


def compile_without_kernels(module, dynamic, options):
    """Compile up to the graphs, without graph breaks; `options` concern kernels and are ignored."""
    original_compile(module, backend="aot_eager", fullgraph=True, dynamic=dynamic)


def compile_layers(model):
    torch.nn.Module.compile = compile_without_kernels
    compile_model(model)
    assert model.is_compiled and all(layer._compiled_call_impl is not None for layer in model.decoder().layers)


@torch.inference_mode()
def compute_logits(family):
    """Return the logits at the answer position, eager and compiled."""
    model = fresh_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    eager_logits = model.answer_logits(dict(batch))
    compile_layers(model)
    return eager_logits.numpy(), model.answer_logits(dict(batch)).numpy()


def compute_gradients(family):
    """Return the gradients of the letters' cross-entropy as one vector, eager and compiled."""
    student = fresh_model(family)
    batch = student.collate(clip_inputs(student.condition), prompts())
    adapters.add_lora(student, lora_config(target_modules=r".*language_model.*\.(q|v|down)_proj"))
    trainable_params = [(name, weight) for name, weight in student.model.named_parameters() if weight.requires_grad]
    for name, weight in trainable_params:
        if "lora_B" in name:  # initially zero, which would make the gradients of A zero
            torch.nn.init.normal_(weight, std=0.1)
    student.train_mode()
    lora_weights = build_lora_weights(student.model, grouped=True)

    def run_forward_backward():
        student.model.zero_grad()
        lora_weights.refresh()
        logits = student.letter_logits(student.answer_logits(dict(batch)))
        lora_weights.backward(torch.nn.functional.cross_entropy(logits, torch.arange(len(logits))))
        return torch.cat([weight.grad.flatten() for _, weight in trainable_params]).numpy()

    eager_grads = run_forward_backward()
    compile_layers(student)
    return eager_grads, run_forward_backward()


@pytest.mark.parametrize(("compute", "family"), [(compute_logits, "qwen2_5_omni"), (compute_gradients, "qwen2_audio")])
def test_compiled_layers_match_eager_layers(compute, family):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as executor:
        eager, compiled = executor.submit(compute, family).result()
    np.testing.assert_allclose(compiled, eager, atol=1e-5, rtol=0)
    assert np.abs(eager).max() > 1e-3
