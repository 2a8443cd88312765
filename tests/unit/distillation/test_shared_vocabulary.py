"""Token ids that two checkpoints share."""

import pytest

from synesthesia.distillation.shared_vocabulary import find_shared_token_ids
from synesthesia.models import random_init
from synesthesia.models.errors import ModelError
from tests.helpers.tiny_checkpoints import checkpoint

pytestmark = pytest.mark.torch


def test_qwen2_models_share_text_tokens_but_no_modality_tokens(tmp_path):
    for name in ("qwen2-audio", "qwen2-vl"):
        random_init.build_tokenizer(name).save_pretrained(tmp_path / name)
    shared = find_shared_token_ids(tmp_path / "qwen2-audio", tmp_path / "qwen2-vl")
    tokenizer = random_init.build_tokenizer("qwen2-vl")
    assert set(tokenizer.encode("A B C dog barking")) <= shared
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in shared
    assert tokenizer.convert_tokens_to_ids("<|video_pad|>") not in shared


def test_tiny_models_share_their_vocabulary():
    assert len(find_shared_token_ids(checkpoint("qwen2_audio"), checkpoint("qwen2_vl"))) > 100


def test_folder_without_tokenizer_is_rejected(tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path}: its tokenizer cannot be read"):
        find_shared_token_ids(tmp_path, checkpoint("qwen2_vl"))
