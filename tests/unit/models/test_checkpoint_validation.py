"""Checkpoints as people have them: in shards, in the hub's layout, damaged, mixed up; one sentence says which."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from synesthesia import models
from synesthesia.models import ModelError, random_init
from synesthesia.models.random_init import ScaledConfig
from tests.helpers.tiny_checkpoints import FAMILIES, checkpoint, entry, fresh, loaded, percepts, prompts

pytestmark = pytest.mark.torch
families = pytest.mark.parametrize("family", FAMILIES)
INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path):
    """family -> a copy of its checkpoint in several shards that may be damaged."""

    def make(family):
        model = fresh(family)
        random_init.save_checkpoint(model, tmp_path / "copy", max_shard_size="400KB")
        return tmp_path / "copy"

    return make


def load(family, folder, **changes):
    return models.load_model(entry(family, checkpoint=str(folder), **changes))


def shards(folder):
    found = sorted(folder.glob("model-*.safetensors"))
    assert len(found) > 1
    return found


@families
@torch.inference_mode()
def test_shards_are_put_together_again(family, sharded):
    folder, whole = sharded(family), loaded(family)
    shards(folder)
    batch = whole.collate(percepts(whole.condition)[:2], prompts()[:2])
    found = load(family, folder).answer_logits(batch)
    torch.testing.assert_close(found, whole.answer_logits(batch), atol=1e-6, rtol=0)


@families
def test_a_missing_shard_is_named(family, sharded):
    folder = sharded(family)
    lost = shards(folder)[1]
    lost.unlink()
    with pytest.raises(ModelError, match=rf"copy: the checkpoint lacks {lost.name}, which {INDEX} names"):
        load(family, folder)


def test_a_truncated_shard_is_named(sharded):
    folder = sharded("qwen2_5_vl")
    cut = shards(folder)[1]
    cut.write_bytes(cut.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=rf"copy: {cut.name} is truncated or damaged"):
        load("qwen2_5_vl", folder)


def test_a_file_of_the_wrong_kind_is_named(sharded):
    folder = sharded("videollama3")
    file = shards(folder)[0]
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4976698672\n")
    with pytest.raises(ModelError, match=rf"copy: {file.name} is a Git LFS pointer, not the weights"):
        load("videollama3", folder)


def test_a_damaged_index_is_named(sharded):
    folder = sharded("qwen2_audio")
    (folder / INDEX).write_text("{")
    with pytest.raises(ModelError, match=rf"copy: {INDEX} is damaged"):
        load("qwen2_audio", folder)


@pytest.mark.parametrize("kind", ["F16", "I8", "F8_E4M3"])
def test_quantised_or_half_weights_are_refused_or_converted(kind, sharded):
    folder = sharded("qwen2_vl")
    to = {"F16": torch.float16, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn}[kind]
    for file in shards(folder):
        save_file({k: v.to(to) for k, v in load_file(file).items()}, file, {"format": "pt"})
    if kind == "F16":  # another float is converted to the precision asked for
        assert load("qwen2_vl", folder).model.dtype == torch.float32
        return
    with pytest.raises(ModelError, match=rf"copy: weights of type {kind}, .*float32, bfloat16 or float16"):
        load("qwen2_vl", folder)


def test_a_vocabulary_larger_than_the_embeddings_is_refused(sharded):
    folder = sharded("qwen2_5_vl")
    words = json.loads((folder / "tokenizer.json").read_text())
    rows = loaded("qwen2_5_vl").model.get_input_embeddings().num_embeddings
    words["added_tokens"].append({"id": rows + 5, "content": "<|new|>", "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": False, "special": True})  # fmt: skip
    words["model"]["vocab"] |= {f"Ġfiller{i}": i for i in range(len(words["model"]["vocab"]), rows + 5)}
    words["model"]["vocab"]["<|new|>"] = rows + 5
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ModelError, match=rf"vocabulary has the id {rows + 5}, but the model has {rows} embeddings"):
        load("qwen2_5_vl", folder)


def test_another_vocabulary_is_refused_where_its_placeholder_means_something_else(sharded):
    folder = sharded("qwen2_5_vl")
    config = json.loads((folder / "config.json").read_text())
    config["video_token_id"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'<\|video_pad\|>' is \d+ in the vocabulary and \d+ in config.json"):
        load("qwen2_5_vl", folder)


def test_the_authors_first_videollama3_is_refused_with_what_to_take(sharded):
    folder = sharded("videollama3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "videollama3_qwen2"}))
    with pytest.raises(ModelError, match=r"'videollama3_qwen2', not 'video_llama_3'.*transformers' own layout"):
        load("videollama3", folder)


# The hub's checkpoints name their weights as transformers did when they were published.

HUB = {
    "qwen2_audio": [("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                    ("model.audio_tower.", "audio_tower."), ("model.multi_modal_projector.", "multi_modal_projector.")],
    "qwen2_vl": [("model.language_model.", "model."), ("model.visual.", "visual.")],
    "qwen2_5_vl": [("model.language_model.", "model."), ("model.visual.", "visual.")],
    "qwen2_5_omni": [("", "thinker.")],
}  # fmt: skip


@pytest.mark.parametrize("family", HUB)
@torch.inference_mode()
def test_weights_named_as_on_the_hub_load(family, tmp_path):
    folder = shutil.copytree(checkpoint(family), tmp_path / "hub")
    weights = load_file(folder / "model.safetensors")

    def renamed(name):
        old, new = next(((o, n) for o, n in HUB[family] if name.startswith(o)), ("", ""))
        return new + name.removeprefix(old)

    save_file({renamed(k): v for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    if family == "qwen2_5_omni":
        thinker = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_omni", "thinker_config": thinker}))
    whole = loaded(family)
    batch = whole.collate(percepts(whole.condition)[:2], prompts()[:2])
    found = load(family, folder).answer_logits(batch)
    torch.testing.assert_close(found, whole.answer_logits(batch), atol=1e-6, rtol=0)


def test_the_flat_configuration_of_the_hub_is_the_nested_one():
    for name in ("qwen2-vl", "qwen2.5-vl"):
        config = random_init.build_config(name)
        assert config.text_config.hidden_size == 3584
        assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
        assert random_init.build_config(name, ScaledConfig()).text_config.num_hidden_layers == 2
