"""`compile_model` selects the right layers and passes the right options to torch.compile.

Whether compiled layers are bitwise equal to eager ones depends on GPU kernels: benchmarks/divergence_by_layer.py.
"""

import pytest
import torch

from synesthesia.acceleration.compile import compile_layers, compile_model
from tests.helpers.tiny_checkpoints import fresh_model

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("family", "excluded"), [("qwen2_audio", "audio_tower"), ("qwen2_5_omni", "audio_tower"), ("qwen2_vl", None)]
)
def test_all_layers_without_erf_gelu_are_compiled(family, excluded, monkeypatch):
    model, compiled = fresh_model(family), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: compiled.append((layer, options)))
    compile_model(model)
    names = {id(module): name for name, module in model.model.named_modules()}
    expected = [layer for layer in model.layers() if excluded is None or excluded not in names[id(layer)]]
    assert len(expected) > 0 and (len(expected) < len(model.layers())) == (excluded is not None)
    assert [id(layer) for layer, _ in compiled] == [id(layer) for layer in expected]
    bitwise_options = {"emulate_precision_casts": True, "shape_padding": False}
    assert all(options["options"] == bitwise_options for _, options in compiled)


def test_compiler_options_override_defaults(monkeypatch):
    passed_options = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **options: passed_options.append(options["options"]))
    compile_layers([torch.nn.Linear(2, 2)], emulate_precision_casts=False, pattern_matcher=False)
    expected = {"emulate_precision_casts": False, "shape_padding": False, "pattern_matcher": False}
    assert passed_options == [expected]
