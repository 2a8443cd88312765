"""A feed-forward network of an odd width, made wider inside, gives the same numbers."""

import pytest
import torch

from synesthesia.acceleration.padded_mlp import pad_mlp
from tests.helpers.tiny_checkpoints import clip_inputs, fresh_model, prompts

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_5_omni"])
@torch.inference_mode()
def test_a_wider_feed_forward_network_gives_the_same_numbers(family):
    model = fresh_model(family)
    visual = model.model.visual if family == "qwen2_5_omni" else model.model.model.visual
    batch = model.collate(clip_inputs(model.condition)[:1], prompts()[:1])
    before, width = model.answer_logits(dict(batch)), visual.blocks[0].mlp.down_proj.in_features
    for _ in range(2):  # again changes nothing
        pad_mlp(visual.blocks, multiple=width + 24)
    mlp = visual.blocks[0].mlp
    assert [len(linear.weight) for linear in (mlp.gate_proj, mlp.up_proj)] == [width + 24] * 2
    assert mlp.down_proj.weight.shape[1] == width  # wider, it would add up in another order
    torch.testing.assert_close(model.answer_logits(dict(batch)), before, atol=1e-5, rtol=0)
