"""The encoders' faster attention and patch embedding give transformers' own numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthesia.acceleration.kernels.varlen_attention import ATTENTION_NAME, varlen_attention
from tests.helpers.tiny_checkpoints import checkpoint, clip_inputs, random_frames, shared_model

pytestmark = pytest.mark.torch
VISUAL = {"qwen2_vl": lambda model: model.model.visual, "qwen2_5_omni": lambda model: model.visual}
FRAMES = {
    "equal": [random_frames(0, 4, 84, 84), random_frames(1, 2, 84, 84)],
    "mixed": [
        random_frames(0, 4, 84, 84),
        random_frames(1, 2, 56, 112),
        random_frames(2, 6, 84, 84),
        random_frames(3, 2, 56, 84),
    ],
}


def untouched(family):
    """The family's model as transformers loads it."""
    return type(shared_model(family)).model_class.from_pretrained(checkpoint(family), attn_implementation="sdpa").eval()


def attended(queries, keys, values, lengths, scaling=None):
    """One call a chunk, as transformers does: (1, length, heads, head size)."""
    pieces = zip(*(t.split(lengths, dim=2) for t in (queries, keys, values)), strict=True)
    done = [torch.nn.functional.scaled_dot_product_attention(*piece, scale=scaling) for piece in pieces]
    return torch.cat(done, dim=2).transpose(1, 2)


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7), seed=st.integers(0, 99), scaled=st.booleans())
def test_chunks_of_any_lengths_equal_one_call_a_chunk(lengths, seed, scaled):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 1, 2, sum(lengths), 8, generator=generator).unbind(0)
    ends = torch.tensor([0, *lengths]).cumsum(0).int()
    scaling = 0.7 if scaled else None
    found, weights = varlen_attention(None, query, key, value, cu_seq_lens_q=ends, scaling=scaling)
    assert weights is None
    torch.testing.assert_close(found, attended(query, key, value, lengths, scaling), atol=1e-6, rtol=1e-6)


def test_chunks_do_not_see_each_other():
    query, key, value = torch.randn(3, 1, 2, 7, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    ends = torch.tensor([0, 3, 7], dtype=torch.int32)
    before, _ = varlen_attention(None, query, key, value, cu_seq_lens_q=ends)
    value[:, :, 3:] += 1
    after, _ = varlen_attention(None, query, key, value, cu_seq_lens_q=ends)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("lengths", [(3, 3), (2, 4, 1)])
def test_gradients_equal_those_of_one_call_a_chunk(lengths, gradient):
    made = torch.randn(3, 1, 2, sum(lengths), 8, generator=torch.Generator().manual_seed(1))
    ends = torch.tensor([0, *lengths]).cumsum(0).int()
    mine, theirs = (made.clone().requires_grad_(gradient) for _ in range(2))
    found = varlen_attention(None, *mine.unbind(0), cu_seq_lens_q=ends)[0]
    expected = attended(*theirs.unbind(0), list(lengths))
    if gradient:
        (found**2).sum().backward()
        (expected**2).sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("family", VISUAL)
@torch.inference_mode()
def test_the_whole_visual_encoder_equals_transformers(family, frames):
    model = shared_model(family)
    videos = model.processor.video_processor
    made = videos(videos=FRAMES[frames], do_sample_frames=False, return_tensors="pt", size=dict(videos.size))
    grids = made["video_grid_thw"]
    assert len({tuple(g) for g in grids[:, 1:].tolist()}) == (1 if frames == "equal" else 3)
    mine, theirs = VISUAL[family](model.model), VISUAL[family](untouched(family))
    assert mine.config._attn_implementation == ATTENTION_NAME != theirs.config._attn_implementation
    found, expected = (v(made["pixel_values_videos"], grid_thw=grids) for v in (mine, theirs))
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=1e-4, rtol=0)
    assert expected.pooler_output.std() > 0.01


@pytest.mark.parametrize("family", VISUAL)
@torch.inference_mode()
def test_patch_embedding_by_product_equals_the_convolution(family):
    embed = VISUAL[family](shared_model(family).model).patch_embed
    patches = torch.randn(20, embed.proj.weight[0].numel(), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(embed(patches), type(embed).forward(embed, patches), atol=1e-5, rtol=0)
    assert "forward" in vars(embed)


@torch.inference_mode()
def test_omnis_ears_equal_transformers_on_sounds_of_mixed_lengths():
    model, theirs = shared_model("qwen2_5_omni"), untouched("qwen2_5_omni")
    for seconds in ((10.0,) * 5, (10.0, 4.1, 8.0, 10.0, 6.6)):
        batch = model.collate(clip_inputs("sounded_video", seconds), ["What is this?"] * 5)
        inputs = {k: batch[k] for k in ("input_features", "feature_attention_mask")}
        found, expected = (m.get_audio_features(**inputs) for m in (model.model, theirs))
        torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-4, rtol=0)
        assert expected.last_hidden_state.std() > 0.01


@pytest.mark.parametrize("family", VISUAL)
@torch.inference_mode()
def test_the_whole_model_equals_transformers(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), ["What is this?"] * 5)
    found, expected = model.model(**batch).logits, untouched(family)(**batch).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
