"""Pitfalls of the vision models: frame times, required inputs, and the number of frames."""

import numpy as np
import pytest
import torch

from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import ModelError
from tests.helpers.tiny_checkpoints import checkpoint, clip_inputs, fresh_model, prompts, random_frames, shared_model

pytestmark = pytest.mark.torch


def collate_frames(model, frames):
    return model.collate([ClipInputs(frames=frames)], prompts()[:1])


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@torch.inference_mode()
def test_video_without_positions_raises_an_error_in_every_forward_method(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs("silent_video")[:1], prompts()[:1])
    incomplete = {k: v for k, v in batch.items() if k != "position_ids"}
    for forward in (model.answer_logits, lambda b: model.model(**b), lambda b: model.model.forward(**b)):
        with pytest.raises(ModelError, match="got a video without position_ids"):
            forward(incomplete)
    text = {k: batch[k] for k in ("input_ids", "attention_mask")}
    text["input_ids"] = text["input_ids"].clamp(max=40)
    assert model.model(**text).logits.isfinite().all()  # text needs none


@torch.inference_mode()
def test_without_the_check_transformers_answers_differently_and_raises_nothing():
    model = fresh_model("qwen2_5_vl")
    model.model.model._forward_pre_hooks.clear()
    batch = model.collate(clip_inputs("silent_video")[:1], prompts()[:1])
    expected = model.answer_logits(batch)
    for missing in ("mm_token_type_ids", "second_per_grid_ts"):
        incomplete = model.answer_logits({k: v for k, v in batch.items() if k not in ("position_ids", missing)})
        assert (expected - incomplete).abs().max() > 0.01


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_5_omni"])
@torch.inference_mode()
def test_collated_positions_equal_those_that_transformers_computes(family):
    model = shared_model(family)
    plain = type(model).model_class.from_pretrained(checkpoint(family), dtype=torch.float32).eval()
    batch = model.collate(clip_inputs(model.condition), prompts())
    without = {k: v for k, v in batch.items() if k != "position_ids"}
    assert torch.equal(plain(**batch).logits, plain(**without).logits)


def test_qwen2_5_vl_receives_two_seconds_per_pair_of_frames():
    model = shared_model("qwen2_5_vl")
    batch = model.collate(clip_inputs("silent_video"), prompts())
    assert batch["second_per_grid_ts"].tolist() == [2.0] * 5


@torch.inference_mode()
def test_qwen2_5_vl_time_positions_are_proportional_to_seconds():
    model = shared_model("qwen2_5_vl")
    batch = collate_frames(model, random_frames(0, 6, 56, 84))
    is_video = (batch["input_ids"] == model.model.config.video_token_id)[0]
    base_model = model.model.model
    positions, _ = base_model.get_rope_index(
        input_ids=batch["input_ids"], mm_token_type_ids=batch["mm_token_type_ids"],
        video_grid_thw=batch["video_grid_thw"], second_per_grid_ts=batch["second_per_grid_ts"],
        attention_mask=batch["attention_mask"],
    )  # fmt: skip
    times = positions[0, 0, is_video]
    tokens_per_second = model.model.config.vision_config.tokens_per_second
    assert (times - times[0]).tolist() == [t for pair in range(3) for t in [pair * 2 * tokens_per_second] * 6]


@pytest.mark.parametrize(
    "family, grid", [("qwen2_5_vl", [3, 6, 8]), ("videollama3", [5, 8, 10]), ("qwen3_vl", [3, 6, 8])]
)
def test_no_frame_is_dropped_and_an_odd_last_frame_is_repeated_where_frames_form_pairs(family, grid):
    model = shared_model(family)
    frames = np.random.default_rng(0).integers(0, 256, (5, 84, 112, 3), dtype=np.uint8)
    batch = collate_frames(model, frames)
    assert batch["video_grid_thw"].tolist() == [grid]
    if grid[0] == 3:
        padded = collate_frames(model, np.concatenate([frames, frames[-1:]]))
        assert torch.equal(batch["pixel_values_videos"], padded["pixel_values_videos"])


@pytest.mark.parametrize("family", ["videollama3", "qwen3_vl"])
def test_total_pixel_budget_does_not_shrink_curated_frames(family):
    model = fresh_model(family)
    # ten frames of 224 x 224 need twenty times that
    model.processor.video_processor.size["longest_edge"] = 112 * 112 * 2
    batch = collate_frames(model, random_frames(0, 10, 224, 224))
    assert batch["video_grid_thw"][0, 1:].tolist() == [16, 16] if family == "videollama3" else [14, 14]


@torch.inference_mode()
def test_videollama3_drops_unchanged_patches_and_batched_answers_equal_single_ones():
    model = shared_model("videollama3")
    still, moving = np.repeat(random_frames(0, 1, 112, 140), 4, axis=0), random_frames(1, 4, 112, 140)
    batch = model.collate([ClipInputs(frames=still), ClipInputs(frames=moving)], prompts()[:2])
    tokens = (batch["input_ids"] == model.model.config.video_token_id).sum(1).tolist()
    assert tokens == [20 + 3, 80]  # one token per frame remains where nothing changes
    single = [
        model.answer_logits(model.collate([ClipInputs(frames=f)], [q]))
        for f, q in zip((still, moving), prompts(), strict=False)
    ]
    torch.testing.assert_close(model.answer_logits(batch), torch.cat(single), atol=1e-4, rtol=0)
