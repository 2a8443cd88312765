"""Variable-length attention and linear patch embedding of the encoders match transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.acceleration.kernels.varlen_attention import ATTENTION_NAME, varlen_attention
from tests.helpers.tiny_checkpoints import checkpoint, clip_inputs, random_frames, shared_model

pytestmark = pytest.mark.torch
VISION_ENCODERS = {"qwen2_vl": lambda model: model.model.visual, "qwen2_5_omni": lambda model: model.visual}
VIDEOS = {
    "equal": [random_frames(0, 4, 84, 84), random_frames(1, 2, 84, 84)],
    "mixed": [
        random_frames(0, 4, 84, 84),
        random_frames(1, 2, 56, 112),
        random_frames(2, 6, 84, 84),
        random_frames(3, 2, 56, 84),
    ],
}


def load_plain_model(family):
    """Load the family's model with transformers, without acceleration."""
    return type(shared_model(family)).model_class.from_pretrained(checkpoint(family), attn_implementation="sdpa").eval()


def reference_attention(query, key, value, lengths, scaling=None):
    """Call SDPA once per chunk, as transformers does; return (1, length, heads, head size)."""
    chunks = zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True)
    outputs = [torch.nn.functional.scaled_dot_product_attention(*chunk, scale=scaling) for chunk in chunks]
    return torch.cat(outputs, dim=2).transpose(1, 2)


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7), seed=st.integers(0, 99), has_scaling=st.booleans())
def test_output_matches_per_chunk_sdpa(lengths, seed, has_scaling):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 1, 2, sum(lengths), 8, generator=generator).unbind(0)
    cu_seq_lens = torch.tensor([0, *lengths]).cumsum(0).int()
    scaling = 0.7 if has_scaling else None
    output, weights = varlen_attention(None, query, key, value, cu_seq_lens_q=cu_seq_lens, scaling=scaling)
    assert weights is None
    expected = reference_attention(query, key, value, lengths, scaling)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)


def test_chunks_do_not_attend_to_each_other():
    query, key, value = torch.randn(3, 1, 2, 7, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    cu_seq_lens = torch.tensor([0, 3, 7], dtype=torch.int32)
    before, _ = varlen_attention(None, query, key, value, cu_seq_lens_q=cu_seq_lens)
    value[:, :, 3:] += 1
    after, _ = varlen_attention(None, query, key, value, cu_seq_lens_q=cu_seq_lens)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("lengths", [(3, 3), (2, 4, 1)])
def test_gradients_match_per_chunk_sdpa(lengths, requires_grad):
    qkv = torch.randn(3, 1, 2, sum(lengths), 8, generator=torch.Generator().manual_seed(1))
    cu_seq_lens = torch.tensor([0, *lengths]).cumsum(0).int()
    inputs, reference_inputs = (qkv.clone().requires_grad_(requires_grad) for _ in range(2))
    output = varlen_attention(None, *inputs.unbind(0), cu_seq_lens_q=cu_seq_lens)[0]
    expected = reference_attention(*reference_inputs.unbind(0), list(lengths))
    if requires_grad:
        (output**2).sum().backward()
        (expected**2).sum().backward()
        torch.testing.assert_close(inputs.grad, reference_inputs.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sizes", VIDEOS)
@pytest.mark.parametrize("family", VISION_ENCODERS)
@torch.inference_mode()
def test_vision_encoder_matches_transformers(family, sizes):
    model = shared_model(family)
    processor = model.processor.video_processor
    inputs = processor(videos=VIDEOS[sizes], do_sample_frames=False, return_tensors="pt", size=dict(processor.size))
    grid_thw = inputs["video_grid_thw"]
    assert len({tuple(grid) for grid in grid_thw[:, 1:].tolist()}) == (1 if sizes == "equal" else 3)
    encoder = VISION_ENCODERS[family](model.model)
    plain_encoder = VISION_ENCODERS[family](load_plain_model(family))
    assert encoder.config._attn_implementation == ATTENTION_NAME != plain_encoder.config._attn_implementation
    output, expected = (e(inputs["pixel_values_videos"], grid_thw=grid_thw) for e in (encoder, plain_encoder))
    torch.testing.assert_close(output.pooler_output, expected.pooler_output, atol=1e-4, rtol=0)
    assert expected.pooler_output.std() > 0.01


@pytest.mark.parametrize("family", VISION_ENCODERS)
@torch.inference_mode()
def test_linear_patch_embedding_matches_convolution(family):
    patch_embed = VISION_ENCODERS[family](shared_model(family).model).patch_embed
    patches = torch.randn(20, patch_embed.proj.weight[0].numel(), generator=torch.Generator().manual_seed(2))
    expected = type(patch_embed).forward(patch_embed, patches)
    torch.testing.assert_close(patch_embed(patches), expected, atol=1e-5, rtol=0)
    assert "forward" in vars(patch_embed)


@torch.inference_mode()
def test_omni_audio_encoder_matches_transformers_for_mixed_lengths():
    model, plain_model = shared_model("qwen2_5_omni"), load_plain_model("qwen2_5_omni")
    for seconds in ((10.0,) * 5, (10.0, 4.1, 8.0, 10.0, 6.6)):
        batch = model.collate(clip_inputs("sounded_video", seconds), ["What is this?"] * 5)
        inputs = {k: batch[k] for k in ("input_features", "feature_attention_mask")}
        output, expected = (m.get_audio_features(**inputs) for m in (model.model, plain_model))
        torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state, atol=1e-4, rtol=0)
        assert expected.last_hidden_state.std() > 0.01


@pytest.mark.parametrize("family", VISION_ENCODERS)
@torch.inference_mode()
def test_model_logits_match_transformers(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), ["What is this?"] * 5)
    logits, expected = model.model(**batch).logits, load_plain_model(family)(**batch).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
