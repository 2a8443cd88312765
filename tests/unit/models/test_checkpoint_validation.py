"""Checkpoints in shards, in the hub's layout, damaged or mismatched: they load, or one message names the cause."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from synesthesia import models
from synesthesia.models import ModelError, random_init
from synesthesia.models.random_init import ScaledConfig
from tests.helpers.tiny_checkpoints import (
    FAMILIES,
    checkpoint,
    clip_inputs,
    fresh_model,
    model_entry,
    prompts,
    shared_model,
)

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path):
    """family -> a copy of its checkpoint in several shards that a test may damage."""

    def make(family):
        model = fresh_model(family)
        random_init.save_checkpoint(model, tmp_path / "copy", max_shard_size="400KB")
        return tmp_path / "copy"

    return make


def load(family, folder, **changes):
    return models.load_model(model_entry(family, checkpoint=str(folder), **changes))


def shards(folder):
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 1
    return files


@families
@torch.inference_mode()
def test_shards_load_as_one_model(family, sharded):
    folder, original = sharded(family), shared_model(family)
    shards(folder)
    batch = original.collate(clip_inputs(original.condition)[:2], prompts()[:2])
    logits = load(family, folder).answer_logits(batch)
    torch.testing.assert_close(logits, original.answer_logits(batch), atol=1e-6, rtol=0)


@families
def test_missing_shard_is_named(family, sharded):
    folder = sharded(family)
    missing_shard = shards(folder)[1]
    missing_shard.unlink()
    with pytest.raises(ModelError, match=rf"copy: the checkpoint lacks {missing_shard.name}, which {INDEX} names"):
        load(family, folder)


def test_truncated_shard_is_named(sharded):
    folder = sharded("qwen2_5_vl")
    truncated_shard = shards(folder)[1]
    truncated_shard.write_bytes(truncated_shard.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=rf"copy: {truncated_shard.name} is truncated or damaged"):
        load("qwen2_5_vl", folder)


def test_git_lfs_pointer_is_named(sharded):
    folder = sharded("videollama3")
    file = shards(folder)[0]
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4976698672\n")
    with pytest.raises(ModelError, match=rf"copy: {file.name} is a Git LFS pointer, not the weights"):
        load("videollama3", folder)


def test_damaged_index_is_named(sharded):
    folder = sharded("qwen2_audio")
    (folder / INDEX).write_text("{")
    with pytest.raises(ModelError, match=rf"copy: {INDEX} is damaged"):
        load("qwen2_audio", folder)


@pytest.mark.parametrize("kind", ["F16", "I8", "F8_E4M3"])
def test_quantized_weights_raise_an_error_and_half_weights_are_converted(kind, sharded):
    folder = sharded("qwen2_vl")
    dtype = {"F16": torch.float16, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn}[kind]
    for file in shards(folder):
        save_file({k: v.to(dtype) for k, v in load_file(file).items()}, file, {"format": "pt"})
    if kind == "F16":  # another floating-point type is converted to the configured dtype
        assert load("qwen2_vl", folder).model.dtype == torch.float32
        return
    with pytest.raises(ModelError, match=rf"copy: weights of type {kind}, .*float32, bfloat16 or float16"):
        load("qwen2_vl", folder)


def test_vocabulary_larger_than_the_embeddings_raises_an_error(sharded):
    folder = sharded("qwen2_5_vl")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    rows = shared_model("qwen2_5_vl").model.get_input_embeddings().num_embeddings
    tokenizer["added_tokens"].append({"id": rows + 5, "content": "<|new|>", "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": False, "special": True})  # fmt: skip
    tokenizer["model"]["vocab"] |= {f"Ġfiller{i}": i for i in range(len(tokenizer["model"]["vocab"]), rows + 5)}
    tokenizer["model"]["vocab"]["<|new|>"] = rows + 5
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=rf"vocabulary has the id {rows + 5}, but the model has {rows} embeddings"):
        load("qwen2_5_vl", folder)


def test_mismatched_placeholder_id_raises_an_error(sharded):
    folder = sharded("qwen2_5_vl")
    config = json.loads((folder / "config.json").read_text())
    config["video_token_id"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'<\|video_pad\|>' is \d+ in the vocabulary and \d+ in config.json"):
        load("qwen2_5_vl", folder)


def test_videollama3_in_the_authors_layout_raises_an_error_that_names_the_right_one(sharded):
    folder = sharded("videollama3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "videollama3_qwen2"}))
    with pytest.raises(ModelError, match=r"'videollama3_qwen2', not 'video_llama_3'.*transformers' own layout"):
        load("videollama3", folder)


# The hub's checkpoints use the weight names of transformers at their publication.

HUB = {
    "qwen2_audio": [("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                    ("model.audio_tower.", "audio_tower."), ("model.multi_modal_projector.", "multi_modal_projector.")],
    "qwen2_vl": [("model.language_model.", "model."), ("model.visual.", "visual.")],
    "qwen2_5_vl": [("model.language_model.", "model."), ("model.visual.", "visual.")],
    "qwen2_5_omni": [("", "thinker.")],
}  # fmt: skip


@pytest.mark.parametrize("family", HUB)
@torch.inference_mode()
def test_weights_with_the_hubs_names_load(family, tmp_path):
    folder = shutil.copytree(checkpoint(family), tmp_path / "hub")
    weights = load_file(folder / "model.safetensors")

    def hub_name(name):
        old, new = next(((o, n) for o, n in HUB[family] if name.startswith(o)), ("", ""))
        return new + name.removeprefix(old)

    save_file({hub_name(k): v for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    if family == "qwen2_5_omni":
        thinker = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni", "thinker_config": thinker}))
    original = shared_model(family)
    batch = original.collate(clip_inputs(original.condition)[:2], prompts()[:2])
    logits = load(family, folder).answer_logits(batch)
    torch.testing.assert_close(logits, original.answer_logits(batch), atol=1e-6, rtol=0)


def test_flat_configuration_of_the_hub_equals_the_nested_one():
    for name in ("qwen2-vl", "qwen2.5-vl"):
        config = random_init.build_config(name)
        assert config.text_config.hidden_size == 3584
        assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
        assert random_init.build_config(name, ScaledConfig()).text_config.num_hidden_layers == 2
