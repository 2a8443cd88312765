"""What compilation leaves whole is transformers' own, to the bit, with its gradients.

Whether compiled layers are so depends on a GPU's kernels: benchmarks/parting.py.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miniature import FAMILIES, fresh, loaded, percepts, prompts
from synesthesia.models.rounding import RootMeanSquareNorm, compile_layers, layer_norm, mean_of_rows, norms_of_their_own

pytestmark = pytest.mark.torch


def leave_norms(model):
    for layer in model.layers():
        norms_of_their_own(layer)


@given(rows=st.integers(1, 4), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_mean_of_rows_and_its_gradient_are_torchs(rows, width, seed):
    values = torch.randn(2, rows, width, generator=torch.Generator().manual_seed(seed))
    mine, theirs = (values.clone().requires_grad_() for _ in range(2))
    found, expected = mean_of_rows(mine), theirs.mean(-1, keepdim=True)
    assert torch.equal(found, expected)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    assert torch.equal(mine.grad, theirs.grad)


def test_both_operations_keep_torchs_rules_for_operations():
    values = torch.randn(2, 3, 8, requires_grad=True)
    torch.library.opcheck(mean_of_rows, (values,))
    torch.library.opcheck(layer_norm, (values.detach(), torch.rand(8), torch.rand(8), 1e-5))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_gradients_are_the_same_bits(family, precision):
    model = fresh(family)
    model.model.to(precision).requires_grad_(False)
    batch = model.collate(percepts(model.condition)[:2], prompts()[:2])
    learnt = model.decoder().layers[0].mlp.down_proj.weight.requires_grad_()

    def passed():
        learnt.grad = None
        logits = model.answer_logits(dict(batch))
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), learnt.grad

    logits, gradients = passed()
    leave_norms(model)
    assert isinstance(model.decoder().layers[0].input_layernorm, RootMeanSquareNorm)
    again, gradients_again = passed()
    assert torch.equal(again, logits) and torch.equal(gradients_again, gradients)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_norms_of_all_layers_are_of_one_class_so_that_one_compilation_serves_them(family):
    model = fresh(family)
    leave_norms(model)
    leave_norms(model)  # again changes nothing
    kinds = {type(layer.input_layernorm) for layer in model.decoder().layers}
    assert len(kinds) == 1
    assert type(loaded(family).decoder().layers[0].input_layernorm) not in kinds


@pytest.mark.parametrize(
    ("family", "left"), [("qwen2_audio", "audio_tower"), ("qwen2_5_omni", "audio_tower"), ("qwen2_vl", None)]
)
def test_layers_are_compiled_but_those_with_gelu_by_the_error_function(family, left, monkeypatch):
    model, compiled = fresh(family), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: compiled.append((layer, options)))
    model.compile()
    names = {id(module): name for name, module in model.model.named_modules()}
    expected = [layer for layer in model.layers() if left is None or left not in names[id(layer)]]
    assert len(expected) > 0 and (len(expected) < len(model.layers())) == (left is not None)
    assert [id(layer) for layer, _ in compiled] == [id(layer) for layer in expected]
    as_separate = {"emulate_precision_casts": True, "shape_padding": False}
    assert all(options["options"] == as_separate for _, options in compiled)


def test_an_option_of_the_compiler_can_be_given_on_top(monkeypatch):
    given_options = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: given_options.append(options["options"]))
    compile_layers([torch.nn.Linear(2, 2)], emulate_precision_casts=False, pattern_matcher=False)
    expected = {"emulate_precision_casts": False, "shape_padding": False, "pattern_matcher": False}
    assert given_options == [expected]
