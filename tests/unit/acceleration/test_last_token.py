"""Last-token inference, cropped audio windows, fused QKV, and the split forward pass match plain transformers."""

import pytest
import torch

from synesthesia.acceleration import split_forward
from synesthesia.acceleration.audio_attention import fuse_qkv
from tests.helpers.tiny_checkpoints import FAMILIES, checkpoint, clip_inputs, fresh_model, prompts, shared_model

pytestmark = pytest.mark.torch
TOLERANCE = {"atol": 1e-5, "rtol": 1e-6}


@pytest.fixture
def compute_plain_audio_logits():
    """Qwen2-Audio with transformers' own model and processor: audio padded to the full window, with all masks."""
    family = shared_model("qwen2_audio")
    model = type(family).model_class.from_pretrained(checkpoint("qwen2_audio"), dtype=torch.float32).eval()
    processor = type(family).processor_class.from_pretrained(checkpoint("qwen2_audio"))

    @torch.inference_mode()
    def compute_logits(clips, questions):
        batch = processor(text=[family.render_prompt(q) for q in questions], audio=[clip.audio for clip in clips],
                          sampling_rate=16000,
                          padding=True, padding_side="right", return_tensors="pt")  # fmt: skip
        logits = model(**batch, use_cache=False).logits
        positions = batch["attention_mask"].sum(1) - 1
        return logits[torch.arange(len(positions)), positions]

    return compute_logits


@pytest.mark.parametrize("seconds", [(10.0,) * 5, (10.0, 3.3, 8.0, 5.7, 9.99)])
def test_cropped_audio_window_matches_full_window(compute_plain_audio_logits, seconds):
    model = shared_model("qwen2_audio")
    clips, questions = clip_inputs("audio", seconds), prompts()
    with torch.inference_mode():
        batch = model.collate(clips, questions)
        logits = model.answer_logits(batch)
    assert batch["input_features"].shape[-1] <= 1016 * max(seconds) / 10 + 1
    torch.testing.assert_close(logits, compute_plain_audio_logits(clips, questions), **TOLERANCE)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_fused_qkv_matches_separate_projections_and_keeps_the_state_dict(precision, tolerance):
    model = fresh_model("qwen2_audio")
    model.model.to(precision)
    batch = model.collate(clip_inputs("audio"), prompts())
    original_weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    with torch.no_grad():
        expected = model.answer_logits(dict(batch))
        for layer in model.audio_encoder.layers:
            fuse_qkv(layer.self_attn)
        logits = model.answer_logits(dict(batch))
    assert (logits - expected).norm() < tolerance * expected.norm()
    assert all(torch.equal(weight, original_weights[name]) for name, weight in model.model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_answer_position_logits_match_full_forward_pass(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    with torch.inference_mode():
        answer_logits = model.answer_logits(dict(batch))
        for hook in model.before_forward:
            hook(batch)
        logits = model.model(**batch, use_cache=False).logits  # outside of `select_positions`: all positions, with mask
    positions = batch["attention_mask"].sum(1) - 1
    assert logits.shape[1] == batch["input_ids"].shape[1]
    torch.testing.assert_close(answer_logits, logits[torch.arange(len(positions)), positions].float(), **TOLERANCE)


SPLIT_FORWARD_FAMILIES = ["qwen2_audio", "qwen2_vl", "qwen2_5_omni", "qwen2_5_vl", "videollama3", "audio_flamingo3"]


@pytest.mark.parametrize("family", SPLIT_FORWARD_FAMILIES)
@pytest.mark.parametrize("padding", [0, 5])
def test_split_forward_matches_single_forward_with_any_padding(family, padding):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    with torch.inference_mode():
        expected = model.answer_logits(dict(batch))
        embeds, position_ids, positions = split_forward.embed_inputs(model, dict(batch))
        embeds = torch.nn.functional.pad(embeds, (0, 0, 0, padding))
        position_ids = None if position_ids is None else torch.nn.functional.pad(position_ids, (0, padding))
        logits = split_forward.decode_embeds(model, embeds, position_ids, positions)
        torch.testing.assert_close(logits, expected, **TOLERANCE)


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_5_omni", "audio_flamingo3"])
def test_split_forward_masks_padding_of_shorter_audio(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition, (10.0, 3.3, 8.0, 5.7, 9.99)), prompts())
    with torch.inference_mode():
        expected = model.answer_logits(dict(batch))
        logits = split_forward.decode_embeds(model, *split_forward.embed_inputs(model, dict(batch)))
        torch.testing.assert_close(logits, expected, **TOLERANCE)


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_vl"])
def test_embed_inputs_suspends_deterministic_algorithms(family):
    model, deterministic_flags = shared_model(family), []
    batch = model.collate(clip_inputs(model.condition), prompts())
    encoder = model.layers()[-1]
    hook = encoder.register_forward_pre_hook(
        lambda *_: deterministic_flags.append(torch.are_deterministic_algorithms_enabled())
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert not split_forward.embed_inputs(model, dict(batch))[0].requires_grad
        assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
        with pytest.raises(KeyError):
            split_forward.embed_inputs(model, {})
        assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        hook.remove()
    assert deterministic_flags == [False]


def test_gradients_of_last_token_forward_match_full_forward_pass():
    model, full_model = fresh_model("qwen2_vl"), fresh_model("qwen2_vl")
    batch = model.collate(clip_inputs("silent_video"), prompts())
    positions = batch["attention_mask"].sum(1) - 1
    model.answer_logits(dict(batch)).logsumexp(-1).sum().backward()
    logits = full_model.model(**batch, use_cache=False).logits
    logits[torch.arange(len(positions)), positions].float().logsumexp(-1).sum().backward()
    expected = {name: p.grad for name, p in full_model.model.named_parameters()}
    total_norm = torch.stack([grad.norm() for grad in expected.values() if grad is not None]).norm()
    for name, parameter in model.model.named_parameters():
        if parameter.grad is not None:
            assert (parameter.grad - expected[name]).norm() <= 1e-5 * total_norm, name
