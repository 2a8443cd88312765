"""Published configurations: parameter counts, rendered prompts, and random models built from them."""

import json

import pytest
import torch
from safetensors import safe_open

from synesthesia import config, models
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models import ModelError, random_init
from synesthesia.models.random_init import CONFIG_FAMILIES, ScaledConfig
from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from tests.helpers.tiny_checkpoints import OPTIONS, SIZES, random_audio, random_frames

pytestmark = pytest.mark.torch
names = pytest.mark.parametrize("name", CONFIG_FAMILIES)

# Billions of parameters on the hub's pages, with their rounding. For Omni the hub includes the Talker, so the Thinker's
# count is the sum of the paper's parts: Qwen2.5-7B (7.62) + vision (0.68) + audio (0.64).
PUBLISHED = {
    "qwen2-audio": "8.40",
    "qwen2-vl": "8.29",
    "qwen2.5-vl": "8.29",
    "videollama3": "8.04",
    "qwen2.5-omni": "8.93",
    "qwen3-vl": "8.77",
    "audio-flamingo-3": "8.27",
}
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
USER = "<|im_start|>user\n"
VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
QUESTION = (
    "Classify the sounding object into one of the categories below:\nA. cat purring\nB. dog barking\nC. police car\n"
    "Respond only with a single letter from A to C.<|im_end|>\n<|im_start|>assistant\n"
)
TEXTS = {
    "qwen2-audio": SYSTEM + USER + "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n" + QUESTION,
    "qwen2-vl": SYSTEM + USER + VIDEO + QUESTION,
    "qwen2.5-vl": SYSTEM + USER + VIDEO + QUESTION,
    "videollama3": USER + "<|video_pad|>\n" + QUESTION,
    "qwen2.5-omni": SYSTEM
    + USER
    + "<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
    + QUESTION,
    "qwen3-vl": USER + VIDEO + QUESTION,
    "audio-flamingo-3": SYSTEM + USER + "<sound>" + QUESTION,
}
# Tokens of a clip of 10 s and four frames of 56 x 84: 25 audio tokens per second; one token per 28 x 28 pixels of two
# frames (Qwen3-VL: 32 x 32); VideoLLaMA 3: of one frame, each enlarged to the minimum size of 112 x 140.
MEDIA_TOKENS = {
    "qwen2-audio": ("<|AUDIO|>", "<|AUDIO|>" * 250),
    "qwen2-vl": ("<|video_pad|>", "<|video_pad|>" * 12),
    "qwen2.5-vl": ("<|video_pad|>", "<|video_pad|>" * 12),
    "videollama3": ("<|video_pad|>", ",".join(f"Time {t}.0s:" + "<|video_pad|>" * 20 for t in range(4))),
    "qwen2.5-omni": ("<|VIDEO|>", "<|VIDEO|>" * 12),
    "qwen3-vl": (
        "<|video_pad|>",
        "".join(f"<{t} seconds><|vision_start|>" + "<|video_pad|>" * 6 + "<|vision_end|>" for t in (0.5, 2.5)),
    ),
    "audio-flamingo-3": ("<sound>", "<sound>" * 250),
}


@pytest.fixture(scope="module")
def small():
    """name -> a scaled-down model with the published vocabulary, built once."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = random_init.build_model(name, dtype="float32", scale=ScaledConfig(num_layers=1, num_heads=1))
        return built[name]

    return get


def clip(model, seconds=10.0):
    return ClipInputs(
        audio=None if model.condition == "silent_video" else random_audio(0, seconds),
        frames=None if model.condition == "audio" else random_frames(0, *SIZES[0]),
    )


@names
def test_configuration_has_the_published_number_of_parameters(name):
    assert f"{random_init.count_parameters(name) / 1e9:.2f}" == PUBLISHED[name]


@names
def test_papers_question_is_rendered_verbatim_by_the_models_chat_template(name, small):
    assert small(name).render_prompt(format_prompt(OPTIONS[:3])) == TEXTS[name]


@names
def test_tokens_are_the_rendered_text_with_one_placeholder_per_medium_token(name, small):
    model = small(name)
    ids = model.collate([clip(model)], [format_prompt(OPTIONS[:3])])["input_ids"][0].tolist()
    expected = TEXTS[name].replace(*MEDIA_TOKENS[name])
    if name == "qwen2.5-omni":
        expected = expected.replace("<|AUDIO|>", "<|AUDIO|>" * 250)
    assert model.tokenizer.decode(ids) == expected


@names
def test_letters_and_special_tokens_have_qwens_own_ids(name, small):
    tokenizer = small(name).tokenizer
    assert [tokenizer.encode(letter) for letter in LETTERS] == [
        [i] for i in range(32, 42)
    ]  # A is 32 in Qwen's vocabulary
    for token, token_id in random_init.load_special_tokens(name).items():
        assert tokenizer.encode(token) == [token_id]
    assert tokenizer.decode(tokenizer.encode("Ärger, 猫 & 'B.'\n")) == "Ärger, 猫 & 'B.'\n"
    # words of the question are tokens, as under the published vocabulary
    assert len(tokenizer.encode(format_prompt(OPTIONS))) < 150


@names
def test_vocabulary_fits_the_embeddings_and_the_published_size(name, small):
    model = small(name)
    rows = model.model.get_input_embeddings().num_embeddings
    assert rows == random_init.build_config(name).get_text_config().vocab_size
    assert max(random_init.load_special_tokens(name).values()) < len(model.tokenizer) <= rows


@pytest.mark.parametrize("name", ["qwen2-audio", "qwen2.5-vl"])  # all families: test_checkpoint_validation.py
def test_model_saved_in_shards_loads_back_equal(name, small, tmp_path):
    original = small(name)
    random_init.save_checkpoint(original, tmp_path / "checkpoint", max_shard_size="20MB")
    shards = sorted((tmp_path / "checkpoint").glob("model-*.safetensors"))
    assert len(shards) > 1
    entry = config.ModelConfig(
        title=name, family=CONFIG_FAMILIES[name], checkpoint=str(tmp_path / "checkpoint"), condition=original.condition,
        dtype="float32", batch_size=1, role="audio", splits=["test"],
    )  # fmt: skip
    reloaded = models.load_model(entry, acceleration=config.AccelerationConfig.off())
    batch = original.collate([clip(original)], [format_prompt(OPTIONS)])
    with torch.inference_mode():
        torch.testing.assert_close(reloaded.answer_logits(batch), original.answer_logits(batch), atol=1e-6, rtol=0)
    assert all(torch.equal(v, reloaded.model.state_dict()[k]) for k, v in original.model.state_dict().items())
    same_batch = reloaded.collate([clip(original)], [format_prompt(OPTIONS)])
    assert all(torch.equal(same_batch[k], v) for k, v in batch.items() if isinstance(v, torch.Tensor))


def test_seed_determines_the_weights():
    def head(seed):
        model = random_init.build_model("qwen2-vl", scale=ScaledConfig(use_full_vocab=False), seed=seed)
        return model.model.lm_head.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_command_writes_a_checkpoint_and_overwrites_none(tmp_path, capsys):
    argv = ["qwen2-audio", "--out", str(tmp_path / "checkpoint"), "--layers", "1", "--heads", "1", "--device", "cpu"]
    random_init.main(argv)
    with safe_open(tmp_path / "checkpoint/model.safetensors", "pt") as weights:
        assert all(weights.get_slice(k).get_dtype() == "BF16" for k in weights.keys())  # noqa: SIM118
    assert json.loads((tmp_path / "checkpoint/config.json").read_text())["text_config"]["num_hidden_layers"] == 1
    assert "qwen2-audio with 0.01 billion random parameters" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        random_init.main(argv)
    assert "already exists" in capsys.readouterr().err


def test_unknown_configuration_raises_an_error_that_lists_the_known_ones():
    with pytest.raises(ModelError, match=r"configuration 'gpt' is not known; known: qwen2-audio, qwen2-vl"):
        random_init.build_model("gpt")
