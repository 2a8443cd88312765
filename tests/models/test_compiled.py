"""Compiled layers, as at the paper's size, answer and learn as those of the miniatures, which are not compiled.

What torch makes of the layers (their graphs, with both passes and any length) is run operation by operation: writing
kernels for them is torch's own affair, and takes a C++ compiler a minute.
"""

import pytest
import torch

from miniature import fresh, percepts, prompts
from synesthesia.distillation import adapters
from synesthesia.models.base import ALL_LINEAR
from synesthesia.params import Lora

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture
def graphs_only(monkeypatch):
    """Compilation up to the graphs, whole ones: a layer that torch has to cut is an error."""
    compiled = torch.nn.Module.compile

    def compile_to_graphs(module, **options):
        compiled(module, backend="aot_eager_decomp_partition", fullgraph=True, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_to_graphs)
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("family", ["qwen2_5_omni", "videollama3"])
@torch.inference_mode()
def test_compiled_layers_answer_as_others_do(graphs_only, family):
    model = fresh(family)
    batch = model.collate(percepts(model.condition), prompts())
    answers = model.answer_logits(dict(batch))
    model.compile()
    assert model.compiled and all(layer._compiled_call_impl is not None for layer in model.layers())
    torch.testing.assert_close(model.answer_logits(dict(batch)), answers, atol=1e-5, rtol=0)


def test_compiled_layers_learn_as_others_do(graphs_only):
    student = fresh("qwen2_vl")
    batch = student.collate(percepts(student.condition), prompts())
    adapters.attach(student, Lora(rank=2, alpha=4.0, dropout=0.0, target_modules=ALL_LINEAR))
    learnt = [(name, weight) for name, weight in student.model.named_parameters() if weight.requires_grad]
    for name, weight in learnt:
        if "lora_B" in name:  # zero at first, and with it all gradients of the other half
            torch.nn.init.normal_(weight, std=0.1)
    student.learn()

    def gradients():
        """Of the letters' cross entropy, in one row."""
        student.model.zero_grad()
        logits = student.letters(student.answer_logits(dict(batch)))
        torch.nn.functional.cross_entropy(logits, torch.arange(len(logits))).backward()
        return torch.cat([weight.grad.flatten() for _, weight in learnt])

    plain = gradients()
    student.compile()
    torch.testing.assert_close(gradients(), plain, atol=1e-5, rtol=1e-4)
    assert plain.abs().max() > 1e-3
