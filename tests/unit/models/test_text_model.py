"""Models with remote code: they run only with permission, through the interface in their READMEs.

Small checkpoints with the same interface, which contain their code as on the hub, replace the real ones.
"""

import json
import sys
import types
import wave

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synesthesia import config, models
from synesthesia.models import ModelError
from synesthesia.models.text_model import EncodedClipInputs
from synesthesia.questions.parsing import parse_letter
from synesthesia.questions.prompt import format_prompt
from synesthesia.schemas import LETTERS

pytestmark = pytest.mark.torch
OPTIONS = ["cat purring", "dog barking", "police car"]

CONFIGURATION = """
from transformers import PreTrainedConfig

class QWenConfig(PreTrainedConfig):
    model_type = "qwen"
    vocab_size = 300
"""
MODEL = """
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from .configuration_qwen import QWenConfig

class QWenLMHeadModel(PreTrainedModel):
    config_class = QWenConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(300, 8)
        self.audio = torch.nn.Linear(1, 8)
        self.head = torch.nn.Linear(8, 300, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, audio_info=None, use_cache=None):
        audio = self.audio(audio_info["input_audios"].to(self.dtype)[:, None].abs().mean(0, keepdim=True))
        return CausalLMOutput(logits=self.head(self.embed(input_ids).cumsum(1) + audio))
"""
TOKENIZER = """
import re
import wave
import numpy as np
import torch

class QWenTokenizer:
    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls()

    @classmethod
    def register_for_auto_class(cls, *_, **__):
        pass

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")

    def from_list_format(self, parts):
        text, audios = "", 0
        for part in parts:
            if "audio" in part:
                audios += 1
                text += f"Audio {audios}:<audio>{part['audio']}</audio>\\n"
            else:
                text += part["text"]
        return text

    def process_audio(self, text):
        (path,) = re.findall(r"<audio>(.*?)</audio>", text)
        with wave.open(path) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        return {"input_audios": torch.from_numpy(samples).float(), "audio_urls": [path]}

    def __call__(self, text, return_tensors=None, audio_info=None):
        assert return_tensors == "pt" and audio_info is not None
        ids = torch.tensor([self.encode(re.sub("<audio>.*?</audio>", "<audio></audio>", text))])
        return {"input_ids": ids, "token_type_ids": ids * 0, "attention_mask": ids * 0 + 1}
"""


def entry(folder, family="qwen_audio_chat", **changes):
    values = {"title": "Qwen-Audio-Chat", "family": family, "checkpoint": str(folder), "condition": "audio",
              "dtype": "float32", "batch_size": 1, "role": "audio", "splits": ["test"]}  # fmt: skip
    return config.ModelConfig(**{**values, "trust_remote_code": True, **changes})


@pytest.fixture(autouse=True)
def modules(monkeypatch, tmp_path_factory):
    """Copy the checkpoints' code into a temporary folder and run the models on the CPU."""
    cache = tmp_path_factory.mktemp("modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(cache))
    monkeypatch.syspath_prepend(str(cache))
    monkeypatch.setenv("SYNESTHESIA_DEVICE", "cpu")
    yield
    for name in [n for n in sys.modules if n.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint with Qwen-Audio-Chat's interface and its own code."""
    folder = tmp_path / "chat"
    folder.mkdir()
    (folder / "configuration_qwen.py").write_text(CONFIGURATION)
    (folder / "modeling_qwen.py").write_text(MODEL)
    (folder / "tokenization_qwen.py").write_text(TOKENIZER)
    code = {"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"}
    model_config = {"model_type": "qwen", "architectures": ["QWenLMHeadModel"], "auto_map": code}
    (folder / "config.json").write_text(json.dumps(model_config))
    auto_map = {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}
    tokenizer_config = {"tokenizer_class": "QWenTokenizer", "auto_map": auto_map}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    rng = torch.Generator().manual_seed(0)
    shapes = {"embed.weight": (300, 8), "audio.weight": (8, 1), "audio.bias": (8,), "head.weight": (300, 8)}
    weights = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def encode_clip(amplitude=0.5):
    return EncodedClipInputs(np.full(1600, amplitude, np.float32))


def test_remote_code_does_not_run_without_permission(checkpoint):
    (checkpoint / "tokenization_qwen.py").write_text("raise SystemExit('ran')")
    for family in ("qwen_audio_chat", "kimi_audio"):
        forbidden = entry(checkpoint, family).model_copy(
            update={"trust_remote_code": config.ModelConfig.model_fields["trust_remote_code"].default}
        )
        with pytest.raises(ModelError, match=r"allow it with models\.my-model\.trust_remote_code: true"):
            models.load_text_model(forbidden, "my-model")


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_trust_remote_code_must_be_a_boolean(checkpoint, value):
    with pytest.raises(ValueError, match="trust_remote_code"):
        entry(checkpoint, trust_remote_code=value)


def test_transformers_families_never_run_remote_code(checkpoint):
    allowed = entry(checkpoint, "qwen2_audio")
    (checkpoint / "modeling_qwen.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=r"model_type in config\.json is 'qwen', not 'qwen2_audio'"):
        models.load_model(allowed)


def test_letter_logits_are_those_after_the_models_own_conversation(checkpoint):
    model = models.load_text_model(entry(checkpoint))
    prompt = format_prompt(OPTIONS)
    reply = model.reply(encode_clip(), prompt, 3)
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nAudio 1:<audio></audio>\n"
        f"{prompt}<|im_end|>\n<|im_start|>assistant\n"
    )
    weights = {k: v.detach() for k, v in model.model.named_parameters()}
    state = (
        weights["embed.weight"][list(text.encode())].sum(0)
        + weights["audio.weight"][:, 0] * 0.5
        + weights["audio.bias"]
    )
    logits = weights["head.weight"] @ state
    assert reply.letter_logprobs == pytest.approx(logits[[ord(x) for x in "ABC"]].tolist(), abs=1e-3)
    assert reply.text == model.tokenizer.decode([int(logits.argmax())])


def test_answers_depend_on_the_audio(checkpoint):
    model = models.load_text_model(entry(checkpoint))
    quiet, loud = (model.reply(encode_clip(x), "Which?", 4).letter_logprobs for x in (0.1, 0.9))
    assert np.abs(np.subtract(quiet, loud)).max() > 0.1


def test_failing_remote_code_raises_an_error_with_the_alternative(checkpoint):
    (checkpoint / "modeling_qwen.py").write_text("from transformers import something_of_4_31")
    with pytest.raises(
        ModelError, match=r"its own code fails in this environment .*something_of_4_31.*use family endpoint"
    ):
        models.load_text_model(entry(checkpoint))


def test_tokenizer_of_another_model_raises_an_error(checkpoint):
    (checkpoint / "tokenization_qwen.py").write_text(TOKENIZER.replace("from_list_format", "format_of_lists"))
    with pytest.raises(ModelError, match="no Qwen-Audio-Chat: its tokenizer lacks from_list_format"):
        models.load_text_model(entry(checkpoint))


def test_multi_token_letters_raise_an_error(checkpoint):
    code = TOKENIZER.replace("return list(text.encode())", "return list(text.encode()) + [299]")
    (checkpoint / "tokenization_qwen.py").write_text(code)
    with pytest.raises(ModelError, match="letters A to J are not one token each"):
        models.load_text_model(entry(checkpoint))


@pytest.mark.parametrize("family", ["qwen_audio_chat", "kimi_audio"])
def test_missing_folder_is_named_and_not_looked_up_on_a_hub(family, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere: not a checkpoint"):
        models.load_text_model(entry(tmp_path / "nowhere", family))


@pytest.fixture
def kimia_calls(monkeypatch):
    """Replace Kimi-Audio's package by a stand-in; return the list of its calls."""
    calls = []

    class KimiAudio:
        def __init__(self, model_path, load_detokenizer=True):
            if model_path.endswith("broken"):
                raise RuntimeError("CUDA error")
            calls.append((model_path, load_detokenizer))

        def generate(
            self,
            chats,
            output_type="text",
            audio_temperature=0.0,
            audio_top_k=5,
            text_temperature=0.0,
            text_top_k=5,
            audio_repetition_penalty=1.0,
            text_repetition_penalty=1.0,
            max_new_tokens=-1,
        ):
            assert [(m["role"], m["message_type"]) for m in chats] == [("user", "audio"), ("user", "text")]
            with wave.open(chats[0]["content"]) as file:
                calls.append((file.getframerate(), file.getnframes(), chats[1]["content"], output_type, text_top_k))
            return None, "B. dog barking"

    kimi = types.ModuleType("kimia_infer.api.kimia")
    kimi.KimiAudio = KimiAudio
    for name in ("kimia_infer", "kimia_infer.api"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "kimia_infer.api.kimia", kimi)
    return calls


def test_kimi_audio_runs_through_its_package_and_returns_text_only(checkpoint, kimia_calls):
    model = models.load_text_model(entry(checkpoint, "kimi_audio"))
    reply = model.reply(encode_clip(), format_prompt(OPTIONS), 3)
    assert (reply.text, reply.letter_logprobs) == ("B. dog barking", None)
    assert parse_letter(reply.text, OPTIONS) == 1
    assert kimia_calls == [(str(checkpoint), False), (16000, 1600, format_prompt(OPTIONS), "text", 1)]


def test_kimi_audio_names_a_missing_or_failing_package(checkpoint, kimia_calls, monkeypatch):
    broken = checkpoint.parent / "broken"
    checkpoint.rename(broken)
    with pytest.raises(ModelError, match=r"kimia_infer failed .*CUDA error"):
        models.load_text_model(entry(broken, "kimi_audio"))
    monkeypatch.setitem(sys.modules, "kimia_infer.api.kimia", None)
    with pytest.raises(ModelError, match="needs its own package, which is not installed"):
        models.load_text_model(entry(broken, "kimi_audio"))


def test_paper_preset_has_a_family_for_each_of_its_seven_models():
    from tests.helpers.tiny_checkpoints import ROOT

    paper_models = config.load(ROOT / "params/paper.yaml").models
    assert len(paper_models) == 7
    for key, model in paper_models.items():
        assert model.family in {**models.FAMILIES, **models.TEXT_ONLY_FAMILIES}, key
        assert not model.trust_remote_code
    assert len(LETTERS) == 10
