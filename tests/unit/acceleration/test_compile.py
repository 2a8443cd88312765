"""Which layers are compiled, and how they round.

Whether compiled layers give transformers' bits depends on a GPU's kernels: benchmarks/divergence_by_layer.py.
"""

import pytest
import torch

from synesthesia.acceleration.compile import compile_layers, compile_model
from tests.helpers.tiny_checkpoints import fresh_model

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("family", "left"), [("qwen2_audio", "audio_tower"), ("qwen2_5_omni", "audio_tower"), ("qwen2_vl", None)]
)
def test_layers_are_compiled_but_those_with_gelu_by_the_error_function(family, left, monkeypatch):
    model, compiled = fresh_model(family), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: compiled.append((layer, options)))
    compile_model(model)
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
