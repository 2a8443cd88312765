"""The real configurations: their size, their texts through their own templates, and what is made of them."""

import json

import pytest
import torch
from safetensors import safe_open

from synesthesia import config, models
from synesthesia.models import ModelError, random_init
from synesthesia.data.clip_inputs import ClipInputs
from synesthesia.models.random_init import CONFIG_FAMILIES, ScaledConfig
from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS
from tests.helpers.tiny_checkpoints import OPTIONS, SIZES, film, sound

pytestmark = pytest.mark.torch
names = pytest.mark.parametrize("name", CONFIG_FAMILIES)

# What the hub's pages show, rounded as they round it; of Omni the hub counts the Talker too, so its Thinker is counted
# from the paper's parts: Qwen2.5-7B (7.62) + vision (0.68) + audio (0.64).
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
ASKED = (
    "Classify the sounding object into one of the categories below:\nA. cat purring\nB. dog barking\nC. police car\n"
    "Respond only with a single letter from A to C.<|im_end|>\n<|im_start|>assistant\n"
)
TEXTS = {
    "qwen2-audio": SYSTEM + USER + "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n" + ASKED,
    "qwen2-vl": SYSTEM + USER + VIDEO + ASKED,
    "qwen2.5-vl": SYSTEM + USER + VIDEO + ASKED,
    "videollama3": USER + "<|video_pad|>\n" + ASKED,
    "qwen2.5-omni": SYSTEM + USER + "<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>" + ASKED,
    "qwen3-vl": USER + VIDEO + ASKED,
    "audio-flamingo-3": SYSTEM + USER + "<sound>" + ASKED,
}
# What stands for a clip of 10 s and four frames of 56 x 84: 25 audio tokens a second; a token for 28 x 28 pixels of two
# frames (Qwen3-VL: 32 x 32); VideoLLaMA 3: of one frame, each enlarged to its least size of 112 x 140.
PERCEIVED = {
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
    """name -> a scaled-down model with the real vocabulary, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = random_init.build_model(name, dtype="float32", scale=ScaledConfig(num_layers=1, num_heads=1))
        return made[name]

    return get


def clip(model, seconds=10.0):
    return ClipInputs(
        audio=None if model.condition == "silent_video" else sound(0, seconds),
        frames=None if model.condition == "audio" else film(0, *SIZES[0]),
    )


@names
def test_the_real_configuration_has_the_published_number_of_parameters(name):
    assert f"{random_init.count_parameters(name) / 1e9:.2f}" == PUBLISHED[name]


@names
def test_the_paper_s_question_through_the_models_own_chat_template_word_for_word(name, small):
    assert small(name).text(format_prompt(OPTIONS[:3])) == TEXTS[name]


@names
def test_the_tokens_are_the_rendered_text_with_a_place_for_each_percept(name, small):
    model = small(name)
    ids = model.collate([clip(model)], [format_prompt(OPTIONS[:3])])["input_ids"][0].tolist()
    expected = TEXTS[name].replace(*PERCEIVED[name])
    if name == "qwen2.5-omni":
        expected = expected.replace("<|AUDIO|>", "<|AUDIO|>" * 250)
    assert model.tokenizer.decode(ids) == expected


@names
def test_letters_and_special_tokens_have_qwens_own_ids(name, small):
    words = small(name).tokenizer
    assert [words.encode(letter) for letter in LETTERS] == [[i] for i in range(32, 42)]  # A is 32 in Qwen's vocabulary
    for token, number in random_init.load_special_tokens(name).items():
        assert words.encode(token) == [number]
    assert words.decode(words.encode("Ärger, 猫 & 'B.'\n")) == "Ärger, 猫 & 'B.'\n"
    assert (
        len(words.encode(format_prompt(OPTIONS))) < 150
    )  # words of the question are tokens, as under the real one


@names
def test_the_vocabulary_fits_the_embeddings_and_stays_under_the_real_size(name, small):
    model = small(name)
    rows = model.model.get_input_embeddings().num_embeddings
    assert rows == random_init.build_config(name).get_text_config().vocab_size
    assert max(random_init.load_special_tokens(name).values()) < len(model.tokenizer) <= rows


@pytest.mark.parametrize("name", ["qwen2-audio", "qwen2.5-vl"])  # all families: test_bad_checkpoints.py
def test_saved_in_shards_it_loads_back_the_same(name, small, tmp_path):
    made = small(name)
    random_init.save_checkpoint(made, tmp_path / "checkpoint", max_shard_size="20MB")
    shards = sorted((tmp_path / "checkpoint").glob("model-*.safetensors"))
    assert len(shards) > 1
    entry = config.ModelConfig(
        title=name, family=CONFIG_FAMILIES[name], checkpoint=str(tmp_path / "checkpoint"), condition=made.condition,
        dtype="float32", batch_size=1, role="audio", splits=["test"],
    )  # fmt: skip
    back = models.load_model(entry)
    batch = made.collate([clip(made)], [format_prompt(OPTIONS)])
    with torch.inference_mode():
        torch.testing.assert_close(back.answer_logits(batch), made.answer_logits(batch), atol=1e-6, rtol=0)
    assert all(torch.equal(v, back.model.state_dict()[k]) for k, v in made.model.state_dict().items())
    again = back.collate([clip(made)], [format_prompt(OPTIONS)])
    assert all(torch.equal(again[k], v) for k, v in batch.items() if isinstance(v, torch.Tensor))


def test_one_seed_one_model_another_seed_another():
    def head(seed):
        return random_init.build_model(
            "qwen2-vl", scale=ScaledConfig(use_full_vocab=False), seed=seed
        ).model.lm_head.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_the_command_writes_a_checkpoint_once(tmp_path, capsys):
    arguments = ["qwen2-audio", "--out", str(tmp_path / "made"), "--layers", "1", "--heads", "1", "--device", "cpu"]
    random_init.main(arguments)
    with safe_open(tmp_path / "made/model.safetensors", "pt") as weights:
        assert all(weights.get_slice(k).get_dtype() == "BF16" for k in weights.keys())  # noqa: SIM118
    assert json.loads((tmp_path / "made/config.json").read_text())["text_config"]["num_hidden_layers"] == 1
    assert "qwen2-audio of 0.01 billion random parameters" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        random_init.main(arguments)
    assert "exists already" in capsys.readouterr().err


def test_an_unknown_configuration_is_refused_with_those_there_are():
    with pytest.raises(ModelError, match=r"no configuration 'gpt'; there are: qwen2-audio, qwen2-vl"):
        random_init.build_model("gpt")
