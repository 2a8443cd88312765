"""Which checkpoints load, what is said of the others, and what the models are asked, word for word."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from synesthesia import models
from synesthesia.models import ModelError
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.synthetic import tiny_models
from tests.helpers.tiny_checkpoints import (
    FAMILIES,
    MINIATURES,
    OPTIONS,
    checkpoint,
    entry,
    fresh,
    loaded,
    percepts,
    words,
)

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
miniature = pytest.mark.parametrize("family", MINIATURES)

ASKED = """Classify the sounding object into one of the categories below:
A. cat purring
B. dog barking
C. police car
Respond only with a single letter from A to C.<|im_end|>
<|im_start|>assistant
"""
TEXTS = {
    "qwen2_audio": "<|im_start|>user\n<|audio_bos|><|AUDIO|><|audio_eos|>" + ASKED,
    "qwen2_vl": "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>" + ASKED,
    "qwen2_5_omni": "<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
    + ASKED,
}


@miniature
def test_the_rendered_prompt_word_for_word(family):
    assert loaded(family).render_prompt(format_prompt(OPTIONS[:3])) == TEXTS[family]


@miniature
def test_the_tokens_are_the_rendered_prompt_with_a_place_for_each_percept(family):
    model = loaded(family)
    percept = percepts(model.condition)[0]
    ids = model.collate([percept], [format_prompt(OPTIONS[:3])])["input_ids"][0].tolist()
    frames, height, width = (4, 56, 84)
    expected = TEXTS[family].replace("<|AUDIO|>", "<|AUDIO|>" * 50)
    for token in ("<|video_pad|>", "<|VIDEO|>"):
        expected = expected.replace(token, token * (frames // 2 * height // 28 * width // 28))
    assert model.tokenizer.decode(ids) == expected


@miniature
def test_an_odd_number_of_frames_and_the_largest_size_are_kept(family):
    model = loaded(family)
    if model.condition == "audio":
        assert model.processor_inputs([ClipInputs(audio=[0.0])])["audio"] == [[0.0]]
        return
    random = torch.randint(0, 256, (5, 84, 112, 3), dtype=torch.uint8).numpy()
    batch = model.collate([ClipInputs(percepts("sounded_video")[0].audio, random)], ["What?"])
    assert batch["video_grid_thw"].tolist() == [[3, 6, 8]]


@families
def test_a_loaded_model_is_in_eval_mode_with_the_precision_asked_for(family):
    model = models.load_model(entry(family, precision="bfloat16"))
    assert not model.model.training
    assert model.model.dtype == torch.bfloat16
    logits = model.answer_logits(model.collate(percepts(model.condition)[:2], ["What is this?"] * 2))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_an_unknown_family_is_refused_with_those_known():
    with pytest.raises(ModelError, match=r"'qwen9' is not known; known: qwen2_audio, qwen2_vl, qwen2_5_vl"):
        models.load_model(entry("qwen2_vl").model_copy(update={"family": "qwen9"}))


@families
def test_a_missing_folder_is_named(family, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere: no model here \(config.json is missing\)"):
        models.load_model(entry(family, checkpoint=str(tmp_path / "nowhere")))


@pytest.fixture
def copy(tmp_path):
    """A copy of Qwen2-VL's checkpoint that may be damaged."""
    return shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "damaged-copy")


def load(folder, family="qwen2_vl"):
    return models.load_model(entry(family, checkpoint=str(folder)))


def test_a_folder_without_weights_is_named(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_truncated_weights_are_named(copy):
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_a_damaged_configuration_is_named(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_a_folder_without_a_processor_is_named(copy):
    for file in copy.glob("*"):
        if file.name not in ("config.json", "model.safetensors", "generation_config.json"):
            file.unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_weights_that_lack_a_layer_are_refused(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layers.1." not in k}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_weights_of_another_width_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 256
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


@pytest.mark.parametrize("family, other", [(a, b) for a in MINIATURES for b in FAMILIES if a != b])
def test_another_familys_checkpoint_is_refused_before_a_model_is_built(family, other, monkeypatch):
    def build(*_, **__):
        raise AssertionError("with another family's configuration this builds billions of random weights first")

    monkeypatch.setattr(type(loaded(family)).model_class, "from_pretrained", build)
    with pytest.raises(ModelError, match=f"{checkpoint(other)}: "):
        models.load_model(entry(family, checkpoint=str(checkpoint(other))))


def test_only_safetensors_are_read(copy):
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="damaged-copy"):
        load(copy)


def test_a_vocabulary_in_which_letters_are_not_one_token_is_refused():
    model = fresh("qwen2_vl")
    vocab = {token: i for token, i in words().get_vocab().items() if token != "J"}
    lacking = tiny_models._build_tokenizer(vocab, [], {})
    assert lacking.encode("A") == [vocab["A"]]
    with pytest.raises(ModelError, match="not one token each"):
        LanguageModel(model.model, SimpleNamespace(tokenizer=lacking), "cpu")


def test_a_family_that_forgets_to_say_what_it_perceives_is_told():
    model = fresh("qwen2_vl")
    with pytest.raises(ModelError, match="LanguageModel does not say what it perceives"):
        LanguageModel(model.model, model.processor, "cpu").render_prompt("?")
