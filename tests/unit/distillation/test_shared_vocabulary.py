"""Token ids that mean the same to two checkpoints."""

import pytest

from synesthesia.distillation.shared_vocabulary import find_shared_token_ids
from synesthesia.models import random_init
from synesthesia.models.errors import ModelError
from tests.helpers.tiny_checkpoints import checkpoint

pytestmark = pytest.mark.torch


def test_the_models_of_the_paper_share_words_and_letters_but_no_modality_tokens(tmp_path):
    for name in ("qwen2-audio", "qwen2-vl"):
        random_init.build_tokenizer(name).save_pretrained(tmp_path / name)
    shared = find_shared_token_ids(tmp_path / "qwen2-audio", tmp_path / "qwen2-vl")
    tokenizer = random_init.build_tokenizer("qwen2-vl")
    assert set(tokenizer.encode("A B C dog barking")) <= shared
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in shared
    assert tokenizer.convert_tokens_to_ids("<|video_pad|>") not in shared


def test_the_tiny_models_share_their_whole_vocabulary():
    assert len(find_shared_token_ids(checkpoint("qwen2_audio"), checkpoint("qwen2_vl"))) > 100


def test_a_folder_without_a_tokenizer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path}: its tokenizer cannot be read"):
        find_shared_token_ids(tmp_path, checkpoint("qwen2_vl"))
