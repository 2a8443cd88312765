"""Which token ids mean the same to two checkpoints."""

import pytest

from synesthesia.distillation.shared_vocabulary import find_shared_token_ids
from synesthesia.models import ModelError, random_init
from tests.helpers.tiny_checkpoints import checkpoint

pytestmark = pytest.mark.torch


def test_the_papers_two_models_share_words_and_letters_but_not_the_tokens_of_their_senses(tmp_path):
    for name in ("qwen2-audio", "qwen2-vl"):
        random_init.build_tokenizer(name).save_pretrained(tmp_path / name)
    shared = find_shared_token_ids(tmp_path / "qwen2-audio", tmp_path / "qwen2-vl")
    words = random_init.build_tokenizer("qwen2-vl")
    assert set(words.encode("A B C dog barking")) <= shared
    assert words.convert_tokens_to_ids("<|im_end|>") in shared
    assert words.convert_tokens_to_ids("<|video_pad|>") not in shared


def test_the_miniatures_share_all_of_their_one_vocabulary():
    one = checkpoint("qwen2_audio")
    assert len(find_shared_token_ids(one, checkpoint("qwen2_vl"))) > 100


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path}: its tokenizer cannot be read"):
        find_shared_token_ids(tmp_path, checkpoint("qwen2_vl"))
