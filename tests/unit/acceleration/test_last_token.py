"""The short way to the answer gives plain transformers' numbers: no mask, one position, the sound's own window."""

import pytest
import torch

from synesthesia.acceleration import split_forward
from synesthesia.acceleration.audio_attention import fuse_qkv
from tests.helpers.tiny_checkpoints import FAMILIES, checkpoint, clip_inputs, fresh_model, prompts, shared_model

pytestmark = pytest.mark.torch
CLOSE = {"atol": 1e-5, "rtol": 1e-6}


@pytest.fixture
def plain_audio():
    """Qwen2-Audio as transformers loads and prepares it: sounds padded to the whole window, with all masks."""
    family = shared_model("qwen2_audio")
    model = type(family).model_class.from_pretrained(checkpoint("qwen2_audio"), dtype=torch.float32).eval()
    processor = type(family).processor_class.from_pretrained(checkpoint("qwen2_audio"))

    @torch.inference_mode()
    def answer(heard, asked):
        batch = processor(text=[family.render_prompt(q) for q in asked], audio=[p.audio for p in heard],
                          sampling_rate=16000,
                          padding=True, padding_side="right", return_tensors="pt")  # fmt: skip
        logits = model(**batch, use_cache=False).logits
        at = batch["attention_mask"].sum(1) - 1
        return logits[torch.arange(len(at)), at]

    return answer


@pytest.mark.parametrize("seconds", [(10.0,) * 5, (10.0, 3.3, 8.0, 5.7, 9.99)])
def test_sounds_in_their_own_window_give_the_logits_of_30_padded_seconds(plain_audio, seconds):
    model = shared_model("qwen2_audio")
    heard, asked = clip_inputs("audio", seconds), prompts()
    with torch.inference_mode():
        batch = model.collate(heard, asked)
        ours = model.answer_logits(batch)
    assert batch["input_features"].shape[-1] <= 1016 * max(seconds) / 10 + 1
    torch.testing.assert_close(ours, plain_audio(heard, asked), **CLOSE)


@pytest.mark.parametrize(("precision", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_queries_keys_and_values_as_one_product_hear_the_same_with_the_same_weights(precision, near):
    model = fresh_model("qwen2_audio")
    model.model.to(precision)
    batch = model.collate(clip_inputs("audio"), prompts())
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    with torch.no_grad():
        apart = model.answer_logits(dict(batch))
        for layer in model.audio_encoder.layers:
            fuse_qkv(layer.self_attn)
        together = model.answer_logits(dict(batch))
    assert (together - apart).norm() < near * apart.norm()
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_one_position_gives_the_logits_of_all_positions(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    with torch.inference_mode():
        short = model.answer_logits(dict(batch))
        for hook in model.before_forward:
            hook(batch)
        logits = model.model(**batch, use_cache=False).logits  # outside of `at`, nothing is cut and the mask is used
    at = batch["attention_mask"].sum(1) - 1
    assert logits.shape[1] == batch["input_ids"].shape[1]
    torch.testing.assert_close(short, logits[torch.arange(len(at)), at].float(), **CLOSE)


REPLAYED = ["qwen2_audio", "qwen2_vl", "qwen2_5_omni", "qwen2_5_vl", "videollama3", "audio_flamingo3"]


@pytest.mark.parametrize("family", REPLAYED)
@pytest.mark.parametrize("more", [0, 5])
def test_embedding_and_decoding_apart_give_the_same_logits_with_any_padding(family, more):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition), prompts())
    with torch.inference_mode():
        whole = model.answer_logits(dict(batch))
        embeds, places, at = split_forward.embed_inputs(model, dict(batch))
        embeds = torch.nn.functional.pad(embeds, (0, 0, 0, more))
        places = None if places is None else torch.nn.functional.pad(places, (0, more))
        torch.testing.assert_close(split_forward.decode_embeds(model, embeds, places, at), whole, **CLOSE)


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_5_omni", "audio_flamingo3"])
def test_embedding_apart_hears_nothing_behind_the_end_of_shorter_sounds(family):
    model = shared_model(family)
    batch = model.collate(clip_inputs(model.condition, (10.0, 3.3, 8.0, 5.7, 9.99)), prompts())
    with torch.inference_mode():
        whole = model.answer_logits(dict(batch))
        torch.testing.assert_close(
            split_forward.decode_embeds(model, *split_forward.embed_inputs(model, dict(batch))), whole, **CLOSE
        )


@pytest.mark.parametrize("family", ["qwen2_audio", "qwen2_vl"])
def test_embedding_is_free_to_take_the_usual_kernels_whatever_a_training_asks_for(family):
    model, ordered = shared_model(family), []
    batch = model.collate(clip_inputs(model.condition), prompts())
    encoder = model.layers()[-1]
    hook = encoder.register_forward_pre_hook(lambda *_: ordered.append(torch.are_deterministic_algorithms_enabled()))
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
    assert ordered == [False]


def test_gradients_of_the_short_way_are_those_of_the_whole_model():
    short, whole = fresh_model("qwen2_vl"), fresh_model("qwen2_vl")
    batch = short.collate(clip_inputs("silent_video"), prompts())
    at = batch["attention_mask"].sum(1) - 1
    short.answer_logits(dict(batch)).logsumexp(-1).sum().backward()
    logits = whole.model(**batch, use_cache=False).logits
    logits[torch.arange(len(at)), at].float().logsumexp(-1).sum().backward()
    theirs = {name: p.grad for name, p in whole.model.named_parameters()}
    size = torch.stack([g.norm() for g in theirs.values() if g is not None]).norm()
    for name, parameter in short.model.named_parameters():
        if parameter.grad is not None:
            assert (parameter.grad - theirs[name]).norm() <= 1e-5 * size, name
