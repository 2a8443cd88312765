"""MLPs padded to a wider intermediate size match the original ones."""

import pytest
import torch

from synesthesia.acceleration.padded_mlp import pad_mlp
from tests.helpers.tiny_checkpoints import clip_inputs, fresh_model, prompts

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_5_omni"])
@torch.inference_mode()
def test_padded_mlp_matches_original(family):
    model = fresh_model(family)
    vision_encoder = model.model.visual if family == "qwen2_5_omni" else model.model.model.visual
    batch = model.collate(clip_inputs(model.condition)[:1], prompts()[:1])
    expected, width = model.answer_logits(dict(batch)), vision_encoder.blocks[0].mlp.down_proj.in_features
    for _ in range(2):  # padding is idempotent
        pad_mlp(vision_encoder.blocks, multiple=width + 24)
    mlp = vision_encoder.blocks[0].mlp
    assert [len(linear.weight) for linear in (mlp.gate_proj, mlp.up_proj)] == [width + 24] * 2
    assert mlp.down_proj.weight.shape[1] == width  # padding it would change the order of summation
    torch.testing.assert_close(model.answer_logits(dict(batch)), expected, atol=1e-5, rtol=0)
