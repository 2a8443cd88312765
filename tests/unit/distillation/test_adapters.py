"""LoRA adapters: adapted layers, saved files, and rejected folders."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from synesthesia.distillation import adapters
from synesthesia.distillation.adapters import AdapterError
from tests.helpers.tiny_checkpoints import (
    FAMILIES,
    TINY_MODELS,
    checkpoint,
    clip_inputs,
    fresh_model,
    lora_config,
    prompts,
    shared_model,
)

pytestmark = pytest.mark.torch
for_each_family = pytest.mark.parametrize("family", FAMILIES)
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@torch.inference_mode()
def letter_logits(model):
    return model.letter_logits(model.answer_logits(model.collate(clip_inputs(model.condition), prompts())))


def make_student(family, **changes):
    """Make a student whose adapter has nonzero weights, as after training."""
    student = fresh_model(family)
    torch.manual_seed(3)
    adapters.add_lora(student, lora_config(**changes))
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                weight.normal_(std=0.05)
    return student.model.eval() and student


@pytest.fixture(scope="module")
def saved_adapters(tmp_path_factory):
    """Folder of a saved adapter and letter logits of its student, by family."""
    by_family = {}
    for family in FAMILIES:
        student = make_student(family)
        folder = tmp_path_factory.mktemp(family)
        adapters.save(student, folder, base_checkpoint=str(checkpoint(family)))
        by_family[family] = folder, letter_logits(student)
    return by_family


@for_each_family
def test_add_lora_keeps_the_list_of_layers(family):
    student = fresh_model(family)
    before = student.layers()
    adapters.add_lora(student, lora_config())
    assert len(before) == len(set(map(id, before))) > 0
    assert list(map(id, student.layers())) == list(map(id, before))


@for_each_family
def test_only_lora_weights_of_the_decoder_are_trainable(family):
    student = make_student(family)
    trainable = {name for name, weight in student.model.named_parameters() if weight.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    assert not [
        n for n in trainable if any(part in n for part in ("visual", "vision", "audio_tower", "projector", "lm_head"))
    ]
    adapted = {name.split(".lora_")[0] for name in trainable}
    assert {name.rsplit(".", 1)[1] for name in adapted} == PROJECTIONS
    assert len(adapted) == student.model.config.get_text_config().num_hidden_layers * len(PROJECTIONS)


@for_each_family
def test_new_adapter_does_not_change_logits(family):
    student = fresh_model(family)
    adapters.add_lora(student, lora_config())
    torch.testing.assert_close(letter_logits(student), letter_logits(shared_model(family)), atol=1e-6, rtol=0)


@for_each_family
def test_loaded_and_merged_adapter_reproduces_logits(family, saved_adapters):
    folder, expected = saved_adapters[family]
    assert (expected - letter_logits(shared_model(family))).abs().max() > 0.05
    restored = adapters.load(fresh_model(family), folder)
    torch.testing.assert_close(letter_logits(restored), expected, atol=1e-5, rtol=0)
    assert not [name for name, _ in restored.model.named_parameters() if "lora" in name]
    assert not restored.model.training


def test_saved_files_are_safetensors_weights_and_configuration_with_base_checkpoint(saved_adapters):
    folder, _ = saved_adapters["qwen2_audio"]
    assert sorted(f.name for f in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(checkpoint("qwen2_audio"))
    assert all(".lora_" in name for name in load_file(folder / "adapter_model.safetensors"))


def test_saving_is_deterministic(saved_adapters, tmp_path):
    adapters.save(make_student("qwen2_audio"), tmp_path, base_checkpoint=str(checkpoint("qwen2_audio")))
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (saved_adapters["qwen2_audio"][0] / file.name).read_bytes()


def test_target_modules_without_match_are_rejected():
    with pytest.raises(AdapterError, match=r"distill\.lora\.target_modules: 'nothing' fits no module"):
        adapters.add_lora(fresh_model("qwen2_audio"), lora_config(target_modules="nothing"))


def test_load_rejects_missing_folder(tmp_path):
    with pytest.raises(AdapterError, match="nowhere holds no LoRA adapter"):
        adapters.load(fresh_model("qwen2_audio"), tmp_path / "nowhere")


def test_load_rejects_model_checkpoint():
    with pytest.raises(AdapterError, match=f"{checkpoint('qwen2_vl')} holds no LoRA adapter"):
        adapters.load(fresh_model("qwen2_audio"), checkpoint("qwen2_vl"))


def test_load_rejects_file_in_place_of_folder(tmp_path):
    (tmp_path / "adapter").write_text("")
    with pytest.raises(AdapterError, match="adapter holds no LoRA adapter"):
        adapters.load(fresh_model("qwen2_audio"), tmp_path / "adapter")


@pytest.fixture
def adapter_copy(saved_adapters, tmp_path):
    """A copy of the Qwen2-Audio adapter, which tests may damage."""
    return shutil.copytree(saved_adapters["qwen2_audio"][0], tmp_path / "damaged-copy")


def test_load_rejects_folder_without_weights(adapter_copy):
    (adapter_copy / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"damaged-copy: adapter_model\.safetensors is missing"):
        adapters.load(fresh_model("qwen2_audio"), adapter_copy)


@pytest.mark.parametrize("text", ["{", "[]", '{"peft_type": "LORA"', "{}", '{"peft_type": "NONE"}', "\udcff"])
def test_load_rejects_damaged_configuration(adapter_copy, text):
    (adapter_copy / "adapter_config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AdapterError, match="damaged-copy"):
        adapters.load(fresh_model("qwen2_audio"), adapter_copy)


def test_load_rejects_truncated_weights(adapter_copy):
    weights = (adapter_copy / "adapter_model.safetensors").read_bytes()
    (adapter_copy / "adapter_model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(AdapterError, match="damaged-copy"):
        adapters.load(fresh_model("qwen2_audio"), adapter_copy)


def test_load_rejects_weights_of_another_rank(adapter_copy):
    config = json.loads((adapter_copy / "adapter_config.json").read_text())
    (adapter_copy / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(AdapterError, match="damaged-copy is an adapter of"):
        adapters.load(fresh_model("qwen2_audio"), adapter_copy)


@pytest.mark.parametrize("family, other", [(a, b) for a in TINY_MODELS for b in TINY_MODELS if a != b])
def test_load_rejects_adapter_of_another_model(family, other, saved_adapters):
    folder, _ = saved_adapters[other]
    with pytest.raises(AdapterError, match=f"{folder} is an adapter of '{checkpoint(other)}' and does not fit"):
        adapters.load(fresh_model(family), folder)
