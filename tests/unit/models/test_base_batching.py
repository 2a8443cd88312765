"""Batched answers equal single ones; the accelerated answer logits equal those of the full forward pass."""

import dataclasses

import pytest
import torch

from synesthesia.schemas import LETTERS
from tests.helpers.tiny_checkpoints import FAMILIES, clip_inputs, fresh_model, prompts, shared_model

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
CLOSE = {"atol": 1e-4, "rtol": 0}


@torch.inference_mode()
def answer(model, clips, questions):
    """Vocabulary logits (clips, vocabulary)."""
    return model.answer_logits(model.collate(clips, questions))


def answer_one_by_one(model, clips, questions):
    return torch.cat([answer(model, [p], [q]) for p, q in zip(clips, questions, strict=True)])


@families
def test_batched_answers_equal_single_ones(family):
    model = shared_model(family)
    clips, questions = clip_inputs(model.condition), prompts()
    single = answer_one_by_one(model, clips, questions)
    torch.testing.assert_close(
        model.letter_logits(answer(model, clips, questions)), model.letter_logits(single), **CLOSE
    )
    assert single.std() > 0.3, "the random model answers every question alike: the comparison would show nothing"


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_5_omni"])
def test_audio_of_different_lengths_in_a_batch_changes_no_answer(family):
    model = shared_model(family)
    clips, questions = clip_inputs(model.condition, seconds=(10.0, 3.3, 8.0, 5.7, 10.0)), prompts()
    torch.testing.assert_close(answer(model, clips, questions), answer_one_by_one(model, clips, questions), **CLOSE)


@families
def test_batch_order_changes_no_answer(family):
    model = shared_model(family)
    clips, questions = clip_inputs(model.condition), prompts()
    reversed_logits = answer(model, clips[::-1], questions[::-1]).flip(0)
    torch.testing.assert_close(answer(model, clips, questions), reversed_logits, **CLOSE)


@families
def test_answers_depend_on_the_clip(family):
    model = shared_model(family)
    clips = clip_inputs(model.condition)
    logits = model.letter_logits(answer(model, clips, prompts()[:1] * len(clips)))
    assert torch.pdist(logits).min() > 0.05


@pytest.mark.parametrize(
    "family, modality",
    [("qwen2_audio", "audio"), ("qwen2_vl", "frames"), ("qwen2_5_omni", "audio"), ("qwen2_5_omni", "frames")],
)
def test_each_modality_affects_the_answer(family, modality):
    model = shared_model(family)
    one, _, _, other, _ = clip_inputs(model.condition)  # two clips of one frame size
    mixed = dataclasses.replace(one, **{modality: getattr(other, modality)})
    before, after = (answer(model, [p], prompts()[:1]) for p in (one, mixed))
    assert (before - after).abs().max() > 0.02


@families
@torch.inference_mode()
def test_answer_logits_equal_that_row_of_all_logits(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    all_logits = model.model(**batch).logits
    last = batch["attention_mask"].sum(1) - 1
    assert len(set(last.tolist())) > 1
    assert all_logits.shape[:2] == batch["input_ids"].shape
    torch.testing.assert_close(model.answer_logits(batch), all_logits[torch.arange(len(last)), last], atol=1e-5, rtol=0)


@families
def test_padding_is_on_the_right(family):
    model = shared_model(family)
    mask = model.collate(clip_inputs(model.condition), prompts())["attention_mask"]
    assert mask.min() == 0
    assert (mask.diff(dim=1) <= 0).all()


@families
@torch.inference_mode()
def test_error_in_the_model_leaves_later_logits_complete(family):
    model = fresh_model(family)
    batch = model.collate(clip_inputs(model.condition)[:1], prompts()[:1])
    handle = model.model.lm_head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.answer_logits(batch)
    handle.remove()
    assert model.model(**batch).logits.shape[1] == batch["input_ids"].shape[1]


@families
@torch.inference_mode()
def test_greedy_token_equals_a_generated_token(family):
    model = shared_model(family)
    for clip, prompt in zip(clip_inputs(model.condition)[:3], prompts(), strict=False):
        batch = model.collate([clip], [prompt])
        assert model.greedy_token(model.answer_logits(batch)) == [model.tokenizer.decode(generate_token(model, batch))]


def generate_token(model, batch):
    tokens = model.model.generate(**batch, max_new_tokens=1, do_sample=False)
    assert tokens.shape[1] == batch["input_ids"].shape[1] + 1
    return tokens[0, -1:]


@families
@torch.inference_mode()
def test_confident_model_generates_the_letter_of_its_largest_letter_logit(family):
    model = fresh_model(family)
    batch = model.collate(clip_inputs(model.condition)[:1], prompts()[:1])
    hidden_states = []
    handle = model.model.lm_head.register_forward_pre_hook(lambda _, inputs: hidden_states.append(inputs[0][0, -1]))
    model.answer_logits(batch)
    handle.remove()
    for index in (0, 4, 9):
        model.model.lm_head.weight[model.letter_ids[index]] = hidden_states[0]  # its own direction: the largest logit
        logits = model.answer_logits(batch)
        assert model.letter_logits(logits).argmax() == index
        assert model.greedy_token(logits) == [LETTERS[index]] == [model.tokenizer.decode(generate_token(model, batch))]
        model.model.lm_head.weight[model.letter_ids[index]] = 0


@families
def test_letter_logits_are_limited_to_the_options(family):
    model = shared_model(family)
    logits = torch.arange(2.0 * 4000).reshape(2, -1)
    assert model.letter_logits(logits, 4).tolist() == logits[:, model.letter_ids[:4]].tolist()
    assert [model.tokenizer.decode([i]) for i in model.letter_ids.tolist()] == list(LETTERS)
