"""Deterministic causal attention matches transformers; torch's CPU kernels replace the CUDA kernels."""

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
CALLS = {"forward": 0, "backward": 0}


@causal_attention.register_kernel("cpu")
def cpu_forward(query, key, value, scaling):
    CALLS["forward"] += 1
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, True, scale=scaling
    )
    return output.transpose(1, 2).contiguous(), logsumexp.clone(memory_format=torch.contiguous_format)


@causal_attention_backward.register_kernel("cpu")
def cpu_backward(grad_output, query, key, value, output, logsumexp, scaling):
    CALLS["backward"] += 1
    num_groups = query.shape[1] // key.shape[1]
    grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_output.transpose(1, 2), query, *(t.repeat_interleave(num_groups, 1) for t in (key, value)),
        output.transpose(1, 2), logsumexp, 0.0, True, scale=scaling,
    )  # fmt: skip
    grads = grads[0], *(t.unflatten(1, (-1, num_groups)).sum(2) for t in grads[1:])
    return tuple(t.transpose(1, 2).contiguous() for t in grads)


@pytest.fixture
def calls():
    """Counts of kernel calls, reset to 0."""
    CALLS.update(forward=0, backward=0)
    return CALLS


def make_qkv(seed, batch_size, num_heads, num_kv_heads, length, head_dim):
    """Draw bfloat16 query, key, and value that require gradients, strided as in a decoder layer."""
    generator = torch.Generator().manual_seed(seed)
    qkv = (
        torch.randn(batch_size, length, n, head_dim, generator=generator).bfloat16()
        for n in (num_heads, num_kv_heads, num_kv_heads)
    )
    return [t.transpose(1, 2).requires_grad_() for t in qkv]


def reference_attention(query, key, value, scaling):
    """Compute causal attention in float32; return the output and the float32 inputs."""
    query, key, value = (t.detach().float().requires_grad_() for t in (query, key, value))
    num_groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(num_groups, 1).mT * scaling
    causal_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    output = scores.masked_fill(causal_mask, -torch.inf).softmax(-1) @ value.repeat_interleave(num_groups, 1)
    return output.transpose(1, 2), (query, key, value)


def make_attention_module(**changes):
    """Make a stand-in for a decoder layer's attention module in training."""
    return SimpleNamespace(**{"training": True, "is_causal": True, "num_key_value_groups": 1, **changes})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99), batch_size=st.integers(1, 3), num_heads=st.sampled_from([2, 4]),
    num_kv_heads=st.sampled_from([1, 2]), length=st.integers(1, 20), scaling=st.sampled_from([0.2, 0.35, 1.0]),
)  # fmt: skip
def test_output_and_gradients_match_float32_reference(seed, batch_size, num_heads, num_kv_heads, length, scaling):
    qkv = make_qkv(seed, batch_size, num_heads, num_kv_heads, length, 16)
    output, weights = deterministic_attention_forward(make_attention_module(), *qkv, None, scaling=scaling)
    expected_output, float_qkv = reference_attention(*qkv, scaling)
    assert weights is None and output.shape == (batch_size, length, num_heads, 16) and output.is_contiguous()
    grad_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed + 1)).bfloat16()
    grads = torch.autograd.grad(output, qkv, grad_output)
    expected_grads = torch.autograd.grad(expected_output, float_qkv, grad_output.float())
    query_norm, key_norm, value_norm, grad_norm = (
        float(t.detach().float().norm(dim=-1).max()) for t in (*qkv, grad_output)
    )
    # Relative to upper bounds of the results: in the query and key gradients, large terms cancel but their rounding
    # errors do not.
    tolerances = (
        value_norm / 64,
        scaling * grad_norm * value_norm * key_norm / 256,
        scaling * grad_norm * value_norm * query_norm / 256,
        grad_norm / 64,
    )
    for actual, expected, atol in zip((output, *grads), (expected_output, *expected_grads), tolerances, strict=True):
        torch.testing.assert_close(actual.float(), expected, atol=atol, rtol=0)


def test_custom_ops_pass_opcheck():
    qkv = make_qkv(0, 2, 4, 2, 7, 8)
    torch.library.opcheck(causal_attention, (*qkv, 0.35))
    qkv = [t.detach() for t in qkv]
    output, logsumexp = causal_attention(*qkv, 0.35)
    torch.library.opcheck(causal_attention_backward, (torch.randn_like(output), *qkv, output, logsumexp, 0.35))


def make_student(is_patched):
    student = fresh_model("qwen2_audio")
    torch.manual_seed(0)
    adapters.add_lora(student, lora_config())
    student.model.bfloat16()
    if is_patched:
        patch_causal_attention(student.decoder())
    student.train_mode()
    return student


def run_forward_backward(student):
    """Return the logits and the gradients of all trainable parameters."""
    lora_weights = build_lora_weights(student.model, grouped=True)
    lora_weights.refresh()
    logits = student.answer_logits(student.collate(clip_inputs("audio"), prompts()))
    lora_weights.backward(logits.float().log_softmax(-1)[:, 32].sum())
    return logits.detach(), [p.grad for p in student.model.parameters() if p.requires_grad]


def test_student_logits_and_gradients_equal_those_of_transformers(calls):
    logits, grads = run_forward_backward(make_student(is_patched=True))
    num_layers = len(fresh_model("qwen2_audio").decoder().layers)
    assert calls == {"forward": num_layers, "backward": num_layers}
    expected_logits, expected_grads = run_forward_backward(make_student(is_patched=False))
    assert calls == {"forward": num_layers, "backward": num_layers}
    assert torch.equal(logits, expected_logits)
    assert any(grad.abs().max() > 0 for grad in expected_grads)
    assert all(torch.equal(actual, expected) for actual, expected in zip(grads, expected_grads, strict=True))


def test_gradient_checkpointing_does_not_change_logits_and_gradients(calls):
    student = make_student(is_patched=True)
    expected_logits, expected_grads = run_forward_backward(student)
    for parameter in student.model.parameters():
        parameter.grad = None
    student.set_gradient_checkpointing(True)
    logits, grads = run_forward_backward(student)
    num_layers = len(student.decoder().layers)
    assert calls == {"forward": 3 * num_layers - 1, "backward": 2 * num_layers}  # the last layer is not recomputed
    assert torch.equal(logits, expected_logits)
    assert all(torch.equal(actual, expected) for actual, expected in zip(grads, expected_grads, strict=True))


@pytest.mark.parametrize(
    "case", ["evaluation", "no gradient", "float32", "mask", "single query", "dropout", "not causal"]
)
def test_unsupported_calls_fall_back_to_sdpa(case, calls):
    query, key, value = make_qkv(3, 2, 4, 4, 6, 8)
    module, mask, options = make_attention_module(training=case != "evaluation"), None, {"scaling": 0.35}
    if case == "float32":
        query, key, value = (t.float() for t in (query, key, value))
    if case == "mask":
        mask = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    if case == "single query":
        query = query[:, :, -1:]
    if case == "dropout":
        options["dropout"] = 0.5
    if case == "not causal":
        options["is_causal"] = False
    with torch.set_grad_enabled(case != "no gradient"):
        output, _ = deterministic_attention_forward(module, query, key, value, mask, **options)
    assert output.shape == (2, query.shape[2], 4, 8)
    assert calls == {"forward": 0, "backward": 0}


def test_cpu_is_unsupported_and_patch_sets_attention_implementation():
    assert not is_supported("cpu")
    student = fresh_model("qwen2_audio")
    adapters.add_lora(student, lora_config())
    assert {layer.self_attn.config._attn_implementation for layer in student.decoder().layers} == {"sdpa"}
    patch_causal_attention(student.decoder())
    assert {layer.self_attn.config._attn_implementation for layer in student.decoder().layers} == {ATTENTION_NAME}
