"""Loading of checkpoints, the errors of unusable ones, and the rendered prompts verbatim."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from synesthesia import models
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import ModelError
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.synthetic import tiny_models
from tests.helpers.tiny_checkpoints import (
    FAMILIES,
    OPTIONS,
    TINY_MODELS,
    checkpoint,
    clip_inputs,
    fresh_model,
    model_entry,
    shared_model,
    word_tokenizer,
)

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
tiny_families = pytest.mark.parametrize("family", TINY_MODELS)

QUESTION = """Classify the sounding object into one of the categories below:
A. cat purring
B. dog barking
C. police car
Respond only with a single letter from A to C.<|im_end|>
<|im_start|>assistant
"""
TEXTS = {
    "qwen2_audio": "<|im_start|>user\n<|audio_bos|><|AUDIO|><|audio_eos|>" + QUESTION,
    "qwen2_vl": "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>" + QUESTION,
    "qwen2_5_omni": "<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
    + QUESTION,
}


@tiny_families
def test_prompt_is_rendered_verbatim(family):
    assert shared_model(family).render_prompt(format_prompt(OPTIONS[:3])) == TEXTS[family]


@tiny_families
def test_tokens_are_the_rendered_prompt_with_one_placeholder_per_medium_token(family):
    model = shared_model(family)
    clip = clip_inputs(model.condition)[0]
    ids = model.collate([clip], [format_prompt(OPTIONS[:3])])["input_ids"][0].tolist()
    frames, height, width = (4, 56, 84)
    expected = TEXTS[family].replace("<|AUDIO|>", "<|AUDIO|>" * 50)
    for token in ("<|video_pad|>", "<|VIDEO|>"):
        expected = expected.replace(token, token * (frames // 2 * height // 28 * width // 28))
    assert model.tokenizer.decode(ids) == expected


@tiny_families
def test_odd_frame_counts_and_the_maximum_size_are_preserved(family):
    model = shared_model(family)
    if model.condition == "audio":
        assert model.processor_inputs([ClipInputs(audio=[0.0])])["audio"] == [[0.0]]
        return
    frames = torch.randint(0, 256, (5, 84, 112, 3), dtype=torch.uint8).numpy()
    batch = model.collate([ClipInputs(clip_inputs("sounded_video")[0].audio, frames)], ["What?"])
    assert batch["video_grid_thw"].tolist() == [[3, 6, 8]]


@families
def test_loaded_models_are_in_eval_mode_with_the_configured_dtype(family):
    model = models.load_model(model_entry(family, dtype="bfloat16"))
    assert not model.model.training
    assert model.model.dtype == torch.bfloat16
    logits = model.answer_logits(model.collate(clip_inputs(model.condition)[:2], ["What is this?"] * 2))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_unknown_family_raises_an_error_that_lists_the_known_ones():
    with pytest.raises(ModelError, match=r"'qwen9' is not known; known: qwen2_audio, qwen2_vl, qwen2_5_vl"):
        models.load_model(model_entry("qwen2_vl").model_copy(update={"family": "qwen9"}))


@families
def test_missing_folder_is_named(family, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere: not a checkpoint \(config.json is missing\)"):
        models.load_model(model_entry(family, checkpoint=str(tmp_path / "nowhere")))


@pytest.fixture
def copied_checkpoint(tmp_path):
    """A copy of Qwen2-VL's checkpoint that a test may damage."""
    return shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "damaged-copy")


def load(folder, family="qwen2_vl"):
    return models.load_model(model_entry(family, checkpoint=str(folder)))


def test_missing_weights_name_the_folder(copied_checkpoint):
    (copied_checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_truncated_weights_name_the_folder(copied_checkpoint):
    weights = (copied_checkpoint / "model.safetensors").read_bytes()
    (copied_checkpoint / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_damaged_configuration_names_the_folder(copied_checkpoint):
    (copied_checkpoint / "config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_missing_processor_names_the_folder(copied_checkpoint):
    for file in copied_checkpoint.glob("*"):
        if file.name not in ("config.json", "model.safetensors", "generation_config.json"):
            file.unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_weights_without_a_layer_raise_an_error(copied_checkpoint):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied_checkpoint / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layers.1." not in k},
        copied_checkpoint / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_weights_of_another_width_raise_an_error(copied_checkpoint):
    config = json.loads((copied_checkpoint / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 256
    (copied_checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


@pytest.mark.parametrize("family, other", [(a, b) for a in TINY_MODELS for b in FAMILIES if a != b])
def test_checkpoint_of_another_family_raises_an_error_before_a_model_is_built(family, other, monkeypatch):
    def build(*_, **__):
        raise AssertionError("another family's configuration would first build billions of random weights")

    monkeypatch.setattr(type(shared_model(family)).model_class, "from_pretrained", build)
    with pytest.raises(ModelError, match=f"{checkpoint(other)}: "):
        models.load_model(model_entry(family, checkpoint=str(checkpoint(other))))


def test_only_safetensors_are_loaded(copied_checkpoint):
    torch.save({}, copied_checkpoint / "pytorch_model.bin")
    (copied_checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copied_checkpoint)


def test_vocabulary_with_multi_token_letters_raises_an_error():
    model = fresh_model("qwen2_vl")
    vocab = {token: i for token, i in word_tokenizer().get_vocab().items() if token != "J"}
    without_j = tiny_models._build_tokenizer(vocab, [], {})
    assert without_j.encode("A") == [vocab["A"]]
    with pytest.raises(ModelError, match="not one token each"):
        LanguageModel(model.model, SimpleNamespace(tokenizer=without_j), "cpu")


def test_family_without_inputs_raises_an_error():
    model = fresh_model("qwen2_vl")
    with pytest.raises(ModelError, match="LanguageModel does not define its inputs"):
        LanguageModel(model.model, model.processor, "cpu").render_prompt("?")
