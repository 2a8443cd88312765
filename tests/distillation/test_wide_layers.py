"""A wide layer is its layers and their adapters, as they are defined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from synesthesia.distillation.lean_lora import LeanLoraLinear, use_lean_lora
from synesthesia.distillation.wide_layers import WideLayer

pytestmark = pytest.mark.torch


def layers(outs, ranks, biases, width):
    """Lean layers of one input, with adapters of their own ranks."""
    plain = torch.nn.ModuleDict(
        {
            f"l{i}": torch.nn.Linear(width, out, bias=bias)
            for i, (out, bias) in enumerate(zip(outs, biases, strict=True))
        }
    )
    config = LoraConfig(
        r=1, lora_alpha=2, target_modules=list(plain), rank_pattern={f"l{i}": r for i, r in enumerate(ranks)}
    )
    use_lean_lora(get_peft_model(plain, config))
    made = list(plain.values())
    assert all(type(layer) is LeanLoraLinear for layer in made)
    return [layer.double() for layer in made]


group = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        *(st.lists(kind, min_size=n, max_size=n) for kind in (st.integers(1, 9), st.integers(1, 40), st.booleans()))
    )
)


@settings(max_examples=40, deadline=None)
@given(
    group, st.integers(1, 12), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.integers(0, 99)
)
def test_outputs_and_gradients_are_those_of_the_separate_products(group, width, shape, learnt_before, seed):
    torch.manual_seed(seed)
    outs, ranks, biases = group
    made = layers(outs, ranks, biases, width)
    x = torch.randn(*shape, width, dtype=torch.float64, requires_grad=learnt_before)
    coming = [torch.randn(*shape, out, dtype=torch.float64) for out in outs]
    downs = [torch.randn(rank, width, dtype=torch.float64, requires_grad=True) for rank in ranks]
    ups = [
        torch.randn(out, rank, dtype=torch.float64, requires_grad=True) for out, rank in zip(outs, ranks, strict=True)
    ]
    expected = [layer.base_layer(x) + x @ down.T @ up.T for layer, down, up in zip(made, downs, ups, strict=True)]
    before = [layer.base_layer.weight.clone() for layer in made]
    wide = WideLayer(made)
    with torch.no_grad():
        for to, values in zip([*wide.downs, *wide.ups], [*downs, *ups], strict=True):
            to.copy_(values)
    found = [wide.of(x, place) for place in range(len(made))]
    torch.testing.assert_close(found, expected)
    wanted = [x] if learnt_before else []
    loss, same = (sum((y * c).sum() for y, c in zip(ys, coming, strict=True)) for ys in (found, expected))
    there = torch.autograd.grad(loss, [*wanted, wide.down, *wide.ups])
    right = torch.autograd.grad(same, [*wanted, *downs, *ups])
    torch.testing.assert_close(
        [*there[: len(wanted)], *there[len(wanted)].split(ranks), *there[len(wanted) + 1 :]], list(right)
    )
    assert all(torch.equal(layer.base_layer.weight, weight) for layer, weight in zip(made, before, strict=True))


def test_one_product_serves_all_layers_of_an_input_and_nothing_is_kept_after_the_last(monkeypatch):
    wide = WideLayer(layers([3, 4], [2, 3], [True, False], 8))
    one, other = (torch.randn(5, 8, dtype=torch.float64) for _ in range(2))
    products, linear = [], torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *given: products.append(given) or linear(*given))
    per = 1 + 1 + 2  # A x, all W x, and an s B for each
    for x, place, so_far in [(one, 0, 1), (one, 1, 1), (one, 1, 2), (other, 1, 3), (one, 0, 4), (one, 1, 4)]:
        width, out = [0, 3, 7][place : place + 2]
        torch.testing.assert_close(wide.of(x, place), linear(x, wide.weight[width:out, :8], wide.bias[width:out]))
        assert len(products) == so_far * per
    assert wide._input is None and wide._made == ()
