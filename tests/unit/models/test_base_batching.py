"""Batched answers equal single ones; the short way to the answer position equals the whole model's logits."""

import dataclasses

import pytest
import torch

from synesthesia.schemas import LETTERS
from tests.helpers.tiny_checkpoints import FAMILIES, fresh, loaded, percepts, prompts

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
CLOSE = {"atol": 1e-4, "rtol": 0}


@torch.inference_mode()
def answered(model, heard, asked):
    """Vocabulary logits (clips, vocabulary)."""
    return model.answer_logits(model.collate(heard, asked))


def alone(model, heard, asked):
    return torch.cat([answered(model, [p], [q]) for p, q in zip(heard, asked, strict=True)])


@families
def test_batched_answers_equal_single_ones(family):
    model = loaded(family)
    heard, asked = percepts(model.condition), prompts()
    single = alone(model, heard, asked)
    torch.testing.assert_close(model.letter_logits(answered(model, heard, asked)), model.letter_logits(single), **CLOSE)
    assert single.std() > 0.3, "the random model says the same to everything: the comparison would show nothing"


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_5_omni"])
def test_sounds_of_different_lengths_in_a_batch_change_no_answer(family):
    model = loaded(family)
    heard, asked = percepts(model.condition, seconds=(10.0, 3.3, 8.0, 5.7, 10.0)), prompts()
    torch.testing.assert_close(answered(model, heard, asked), alone(model, heard, asked), **CLOSE)


@families
def test_the_order_of_a_batch_changes_no_answer(family):
    model = loaded(family)
    heard, asked = percepts(model.condition), prompts()
    turned = answered(model, heard[::-1], asked[::-1]).flip(0)
    torch.testing.assert_close(answered(model, heard, asked), turned, **CLOSE)


@families
def test_what_is_perceived_decides_the_answer(family):
    model = loaded(family)
    heard = percepts(model.condition)
    logits = model.letter_logits(answered(model, heard, prompts()[:1] * len(heard)))
    assert torch.pdist(logits).min() > 0.05


@pytest.mark.parametrize(
    "family, sense",
    [("qwen2_audio", "audio"), ("qwen2_vl", "frames"), ("qwen2_5_omni", "audio"), ("qwen2_5_omni", "frames")],
)
def test_each_sense_that_a_model_has_reaches_its_answer(family, sense):
    model = loaded(family)
    one, _, _, other, _ = percepts(model.condition)  # two clips of one frame size
    mixed = dataclasses.replace(one, **{sense: getattr(other, sense)})
    before, after = (answered(model, [p], prompts()[:1]) for p in (one, mixed))
    assert (before - after).abs().max() > 0.02


@families
@torch.inference_mode()
def test_the_head_at_the_answer_position_equals_that_row_of_all_logits(family):
    model = loaded(family)
    batch = model.collate(percepts(model.condition), prompts())
    whole = model.model(**batch).logits
    last = batch["attention_mask"].sum(1) - 1
    assert len(set(last.tolist())) > 1
    assert whole.shape[:2] == batch["input_ids"].shape
    torch.testing.assert_close(model.answer_logits(batch), whole[torch.arange(len(last)), last], atol=1e-5, rtol=0)


@families
def test_padding_stands_on_the_right(family):
    model = loaded(family)
    mask = model.collate(percepts(model.condition), prompts())["attention_mask"]
    assert mask.min() == 0
    assert (mask.diff(dim=1) <= 0).all()


@families
@torch.inference_mode()
def test_an_error_in_the_model_leaves_later_logits_whole(family):
    model = fresh(family)
    batch = model.collate(percepts(model.condition)[:1], prompts()[:1])
    handle = model.model.lm_head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.answer_logits(batch)
    handle.remove()
    assert model.model(**batch).logits.shape[1] == batch["input_ids"].shape[1]


@families
@torch.inference_mode()
def test_what_is_said_equals_a_generated_token(family):
    model = loaded(family)
    for percept, prompt in zip(percepts(model.condition)[:3], prompts(), strict=False):
        batch = model.collate([percept], [prompt])
        assert model.greedy_token(model.answer_logits(batch)) == [model.tokenizer.decode(generated(model, batch))]


def generated(model, batch):
    made = model.model.generate(**batch, max_new_tokens=1, do_sample=False)
    assert made.shape[1] == batch["input_ids"].shape[1] + 1
    return made[0, -1:]


@families
@torch.inference_mode()
def test_a_model_sure_of_a_letter_generates_it_and_its_letter_logits_agree(family):
    model = fresh(family)
    batch = model.collate(percepts(model.condition)[:1], prompts()[:1])
    held = []
    handle = model.model.lm_head.register_forward_pre_hook(lambda _, inputs: held.append(inputs[0][0, -1]))
    model.answer_logits(batch)
    handle.remove()
    for index in (0, 4, 9):
        model.model.lm_head.weight[model.letter_ids[index]] = held[0]  # its own direction: the largest logit
        logits = model.answer_logits(batch)
        assert model.letter_logits(logits).argmax() == index
        assert model.greedy_token(logits) == [LETTERS[index]] == [model.tokenizer.decode(generated(model, batch))]
        model.model.lm_head.weight[model.letter_ids[index]] = 0


@families
def test_fewer_options_have_fewer_letters(family):
    model = loaded(family)
    logits = torch.arange(2.0 * 4000).reshape(2, -1)
    assert model.letter_logits(logits, 4).tolist() == logits[:, model.letter_ids[:4]].tolist()
    assert [model.tokenizer.decode([i]) for i in model.letter_ids.tolist()] == list(LETTERS)
