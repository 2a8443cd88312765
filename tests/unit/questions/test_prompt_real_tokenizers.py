"""Prompt and tiny tokenizers against Qwen's vocabulary, from the PyPI package `dashscope`; skipped without network."""

import base64
import subprocess
import sys
import zipfile

import pytest

from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS

pytestmark = pytest.mark.torch
PACKAGE = "dashscope==2.0.2"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """{bytes: id} of the 151,643 ordinary tokens that all Qwen models up to Qwen3 share."""
    folder = tmp_path_factory.mktemp("dashscope")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--retries", "0", "--timeout", "10", "--dest", str(folder), PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            lines = wheel.read("dashscope/resources/qwen.tiktoken").splitlines()
    except (subprocess.SubprocessError, OSError, StopIteration) as error:
        pytest.skip(f"{PACKAGE} cannot be downloaded ({type(error).__name__}); only this test needs it")
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


def test_each_letter_is_one_token_with_ids_from_32(ranks):
    assert [ranks[letter.encode()] for letter in LETTERS] == list(range(32, 42))


def test_special_tokens_follow_the_ordinary_ones(ranks):
    from synesthesia.models import random_init

    assert sorted(ranks.values()) == list(range(151643))
    for name in random_init.CONFIG_FAMILIES:
        assert min(random_init.load_special_tokens(name).values()) == 151643


def test_the_random_init_tokenizer_has_qwens_bytes_at_qwens_ids(ranks):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    from synesthesia.models import random_init

    vocabulary = random_init.build_tokenizer("qwen2-audio").get_vocab()
    assert {letter: vocabulary[letter] for letter in bytes_to_unicode().values()} == {
        letter: ranks[bytes([byte])] for byte, letter in bytes_to_unicode().items()
    }


def test_most_words_of_the_prompt_are_single_tokens_of_qwens_vocabulary(ranks):
    words = format_prompt(["dog barking", "cat purring"]).replace("\n", " ").split(" ")
    single = [w for w in words if (" " + w).encode() in ranks or w.encode() in ranks]
    assert len(single) > 0.7 * len(words)
