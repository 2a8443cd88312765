"""Attention in learning gives transformers' own numbers; the GPU's two kernels are stood in for by the CPU's."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.acceleration.kernels.causal_attention import (
    ATTENTION_NAME,
    causal_attention,
    causal_attention_backward,
    deterministic_attention_forward,
    is_supported,
    patch_causal_attention,
)
from synesthesia.acceleration.lora_grouped import build_lora_weights
from synesthesia.distillation import adapters
from tests.helpers.tiny_checkpoints import clip_inputs, fresh_model, lora_config, prompts

pytestmark = pytest.mark.torch
CALLS = {"there": 0, "back": 0}


@causal_attention.register_kernel("cpu")
def there(query, key, value, scaling):
    CALLS["there"] += 1
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, True, scale=scaling)
    return out.transpose(1, 2).contiguous(), sums.clone(memory_format=torch.contiguous_format)


@causal_attention_backward.register_kernel("cpu")
def back(coming, query, key, value, out, sums, scaling):
    CALLS["back"] += 1
    shared = query.shape[1] // key.shape[1]
    made = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        coming.transpose(1, 2), query, *(t.repeat_interleave(shared, 1) for t in (key, value)), out.transpose(1, 2),
        sums, 0.0, True, scale=scaling,
    )  # fmt: skip
    summed = made[0], *(t.unflatten(1, (-1, shared)).sum(2) for t in made[1:])
    return tuple(t.transpose(1, 2).contiguous() for t in summed)


@pytest.fixture
def calls():
    CALLS.update(there=0, back=0)
    return CALLS


def heads(seed, clips, many, few, length, size):
    """query, key and value as a decoder's layer hands them over, wanting gradients."""
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(clips, length, n, size, generator=generator).bfloat16() for n in (many, few, few))
    return [t.transpose(1, 2).requires_grad_() for t in made]


def plain(query, key, value, scaling):
    """In float32, from the definition."""
    query, key, value = (t.detach().float().requires_grad_() for t in (query, key, value))
    shared = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(shared, 1).mT * scaling
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    out = scores.masked_fill(later, -torch.inf).softmax(-1) @ value.repeat_interleave(shared, 1)
    return out.transpose(1, 2), (query, key, value)


def learning(**changed):
    return SimpleNamespace(**{"training": True, "is_causal": True, "num_key_value_groups": 1, **changed})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99), clips=st.integers(1, 3), many=st.sampled_from([2, 4]), few=st.sampled_from([1, 2]),
    length=st.integers(1, 20), scaling=st.sampled_from([0.2, 0.35, 1.0]),
)  # fmt: skip
def test_output_and_gradients_are_those_of_the_definition(seed, clips, many, few, length, scaling):
    given = heads(seed, clips, many, few, length, 16)
    found, weights = deterministic_attention_forward(learning(), *given, None, scaling=scaling)
    expected, wide = plain(*given, scaling)
    assert weights is None and found.shape == (clips, length, many, 16) and found.is_contiguous()
    coming = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed + 1)).bfloat16()
    gradients = torch.autograd.grad(found, given, coming)
    wanted = torch.autograd.grad(expected, wide, coming.float())
    query, key, value, came = (float(t.detach().float().norm(dim=-1).max()) for t in (*given, coming))
    # as large as each could be; of those of query and key nearly all cancels out, but for what was rounded before
    sizes = value / 64, scaling * came * value * key / 256, scaling * came * value * query / 256, came / 64
    for ours, theirs, near in zip((found, *gradients), (expected, *wanted), sizes, strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=near, rtol=0)


def test_each_operation_says_of_its_outputs_what_they_are():
    """torch's own check: schema, shapes and strides known in advance, gradients, and compilation with any shape."""
    given = heads(0, 2, 4, 2, 7, 8)
    torch.library.opcheck(causal_attention, (*given, 0.35))
    given = [t.detach() for t in given]
    out, sums = causal_attention(*given, 0.35)
    torch.library.opcheck(causal_attention_backward, (torch.randn_like(out), *given, out, sums, 0.35))


def adapted(ordered):
    student = fresh_model("qwen2_audio")
    torch.manual_seed(0)
    adapters.add_lora(student, lora_config())
    student.model.bfloat16()
    if ordered:
        patch_causal_attention(student.decoder())
    student.train_mode()
    return student


def passed(student):
    small = build_lora_weights(student.model, grouped=True)
    small.refresh()
    logits = student.answer_logits(student.collate(clip_inputs("audio"), prompts()))
    small.backward(logits.float().log_softmax(-1)[:, 32].sum())
    return logits.detach(), [p.grad for p in student.model.parameters() if p.requires_grad]


def test_a_student_learns_through_it_in_every_layer_what_it_learns_in_transformers(calls):
    ours, gradients = passed(adapted(ordered=True))
    layers = len(fresh_model("qwen2_audio").decoder().layers)
    assert calls == {"there": layers, "back": layers}
    theirs, expected = passed(adapted(ordered=False))
    assert calls == {"there": layers, "back": layers}
    assert torch.equal(ours, theirs)
    assert any(g.abs().max() > 0 for g in expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_activations_computed_twice_give_the_same(calls):
    student = adapted(ordered=True)
    ours, gradients = passed(student)
    for parameter in student.model.parameters():
        parameter.grad = None
    student.set_gradient_checkpointing(True)
    again, expected = passed(student)
    layers = len(student.decoder().layers)
    assert calls == {"there": 3 * layers - 1, "back": 2 * layers}  # the last layer keeps its own
    assert torch.equal(ours, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize(
    "why", ["answers", "no gradient", "float32", "a mask", "one asks many", "dropout", "not causal"]
)
def test_all_else_is_left_to_transformers(why, calls):
    query, key, value = heads(3, 2, 4, 4, 6, 8)
    module, mask, options = learning(training=why != "answers"), None, {"scaling": 0.35}
    if why == "float32":
        query, key, value = (t.float() for t in (query, key, value))
    if why == "a mask":
        mask = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    if why == "one asks many":
        query = query[:, :, -1:]
    if why == "dropout":
        options["dropout"] = 0.5
    if why == "not causal":
        options["is_causal"] = False
    with torch.set_grad_enabled(why != "no gradient"):
        found, _ = deterministic_attention_forward(module, query, key, value, mask, **options)
    assert found.shape == (2, query.shape[2], 4, 8)
    assert calls == {"there": 0, "back": 0}


def test_on_a_cpu_students_attend_as_transformers_has_it():
    assert not is_supported("cpu")
    student = fresh_model("qwen2_audio")
    adapters.add_lora(student, lora_config())
    assert {layer.self_attn.config._attn_implementation for layer in student.decoder().layers} == {"sdpa"}
    patch_causal_attention(student.decoder())
    assert {layer.self_attn.config._attn_implementation for layer in student.decoder().layers} == {ATTENTION_NAME}
