"""The paper's models at their real configuration with random weights, made here: nothing is downloaded.

For speed, memory and dress rehearsals, and scaled down for tests. The configurations are data under
`configurations/` (their README names the source of each). The tokenizer is made by code: a byte-level BPE in Qwen's
own order (so that `A` is 32), merges learnt from `texts`, and the special tokens at their real ids.

Examples:
  python -m synesthesia.models.random_init qwen2-audio --out checkpoints/Qwen2-Audio-7B-Instruct
  python -m synesthesia.models.random_init qwen2-vl --out /tmp/small --layers 2 --heads 2
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, trainers
from tokenizers import models as tokenizing
from transformers import (
    AddedToken,
    GenerationConfig,
    PreTrainedConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    VideoLlama3ImageProcessor,
    VideoLlama3VideoProcessor,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from synesthesia.models import ModelError, model_class
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils import device

CONFIG_DIR = Path(__file__).parent / "configurations"
CONFIG_FAMILIES = {
    "qwen2-audio": "qwen2_audio",
    "qwen2-vl": "qwen2_vl",
    "qwen2.5-vl": "qwen2_5_vl",
    "videollama3": "videollama3",
    "qwen2.5-omni": "qwen2_5_omni",
    "qwen3-vl": "qwen3_vl",
    "audio-flamingo-3": "audio_flamingo3",
}
DEFAULT_LABELS = [
    "dog barking", "cat purring", "police car", "playing drums", "owl hooting", "toilet flushing", "sea waves",
    "lawn mowing", "people whistling", "train horning", "playing violin", "thunder", "church bell ringing",
    "baby crying", "airplane flyby", "typing on computer keyboard", "people clapping", "rooster crowing",
    "chainsawing trees", "fireworks banging", "playing piano", "horse clip-clop", "waterfall burbling", "skiing",
]  # fmt: skip
OMNI_SPECIAL_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


@dataclass(frozen=True)
class ScaledConfig:
    """A smaller model of the same shape: `layers` in each part, `heads` heads of `head` numbers, Qwen's vocabulary.

    `window` seconds of sound, where given, instead of the encoder's own 30 (Audio Flamingo 3 computes all of them);
    `vocabulary` None keeps the real number of tokens; False closes the gap between the learnt and the special ones.
    """

    num_layers: int = 2
    num_heads: int = 2
    head_dim: int = 32
    use_full_vocab: bool | None = None
    audio_window_seconds: int | None = None


def get_model_class(name: str) -> type[LanguageModel]:
    """The family's class of a configuration."""
    if name not in CONFIG_FAMILIES:
        raise ModelError(f"there is no configuration {name!r}; there are: {', '.join(CONFIG_FAMILIES)}")
    return model_class(CONFIG_FAMILIES[name])


def load_special_tokens(name: str) -> dict[str, int]:
    """Special tokens and their ids in the real vocabulary."""
    return json.loads((CONFIG_DIR / name / "added_tokens.json").read_text())


def build_tokenizer(name: str, texts: Iterable[str] | None = None, scale: ScaledConfig | None = None) -> Qwen2Tokenizer:
    """Qwen2's tokenizer with a vocabulary of its own: bytes 0 to 255 as Qwen has them, then merges learnt from `texts`.

    Ids between the merges and the special tokens are filled with tokens that no text has. `texts` are by default
    questions about two dozen sounds.
    """
    texts = list(texts or [format_prompt(DEFAULT_LABELS[i : i + 10]) for i in range(0, 15)])
    qwen = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[])
    bpe = Tokenizer(tokenizing.BPE())
    bpe.pre_tokenizer, bpe.normalizer = qwen.backend_tokenizer.pre_tokenizer, qwen.backend_tokenizer.normalizer
    alphabet = list(bytes_to_unicode().values())
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([*texts, "system\nYou are a helpful assistant.", "user\n", "assistant\n"], trainer)
    learnt = json.loads(bpe.to_str())["model"]["merges"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in learnt]
    vocab = {letter: i for i, letter in enumerate(alphabet)}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    special = load_special_tokens(name)
    if scale and scale.use_full_vocab is False:
        special = {token: len(vocab) + i for i, token in enumerate(special)}
    taken = set(special.values())
    vocab |= {f"Ġunused{i}": i for i in range(len(vocab), max(taken)) if i not in taken} | special
    names = OMNI_SPECIAL_TOKENS if "<|VIDEO|>" in special else {}
    made = Qwen2Tokenizer(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=names
    )
    made.add_tokens([AddedToken(token, special=True) for token in special], special_tokens=True)
    return made


def build_processor(name: str, tokenizer: Qwen2Tokenizer, scale: ScaledConfig | None = None):
    """The family's processor with the configuration's own features, pixel limits and chat template, and `words`."""
    kind = get_model_class(name).processor_class
    given = json.loads((CONFIG_DIR / name / "preprocessor_config.json").read_text())
    parts: dict = {"tokenizer": tokenizer, "chat_template": (CONFIG_DIR / name / "chat_template.jinja").read_text()}
    if "feature_extractor_type" in given:
        given["chunk_length"] = (scale and scale.audio_window_seconds) or given["chunk_length"]
        keys = ("chunk_length", "feature_size", "hop_length", "n_fft", "padding_value", "sampling_rate")
        parts["feature_extractor"] = WhisperFeatureExtractor(**{k: given[k] for k in keys}, return_attention_mask=True)
    if "image_processor_type" in given:
        seeing = {k: v for k, v in given.items() if k.startswith(("image_m", "image_s", "patch", "temporal", "merge"))}
        size = {"shortest_edge": given["min_pixels"], "longest_edge": given["max_pixels"]}
        llama = given["image_processor_type"].startswith("VideoLlama3")
        image = VideoLlama3ImageProcessor if llama else Qwen2VLImageProcessor
        video = VideoLlama3VideoProcessor if llama else Qwen2VLVideoProcessor
        video = Qwen3VLVideoProcessor if kind is Qwen3VLProcessor else video
        parts |= {
            "image_processor": image(size=dict(size), **seeing),
            "video_processor": video(size=dict(size), **seeing),
        }
    return kind(**parts)


def build_config(
    name: str, scale: ScaledConfig | None = None, tokenizer: Qwen2Tokenizer | None = None
) -> PreTrainedConfig:
    """The real configuration, or one of the same shape scaled down (with the ids of `words`, where it is given)."""
    kind = get_model_class(name).model_class.config_class
    given = json.loads((CONFIG_DIR / name / "config.json").read_text())
    config = kind.from_dict(given)
    if scale is None:
        return config
    values = config.to_dict()
    width = scale.num_heads * scale.head_dim
    _scale_text(values["text_config"], scale, width)
    if values.get("vision_config"):
        _scale_vision(values["vision_config"], scale, width)
    if values.get("audio_config"):
        _scale_audio(values["audio_config"], scale, width)
    if scale.use_full_vocab is False:
        tokenizer = tokenizer or tokenizer(name, scale=scale)
        ids = {real: tokenizer.convert_tokens_to_ids(token) for token, real in load_special_tokens(name).items()}
        _remap_token_ids(values, ids)
        values["text_config"]["vocab_size"] = len(tokenizer)
        if "vocab_size" in values:
            values["vocab_size"] = len(tokenizer)
    return kind.from_dict(values)


def _scale_text(text_config: dict, scale: ScaledConfig, hidden_size: int) -> None:
    text_config.pop("layer_types", None)
    groups = text_config["num_attention_heads"] // (
        text_config["num_key_value_heads"] or text_config["num_attention_heads"]
    )
    head = text_config["hidden_size"] // text_config["num_attention_heads"]
    text_config |= {
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": scale.num_layers,
        "num_attention_heads": scale.num_heads,
        "num_key_value_heads": max(1, scale.num_heads // groups),
        "max_window_layers": scale.num_layers,
    }
    if text_config.get("head_dim"):
        text_config["head_dim"] = scale.head_dim
    rope = text_config.get("rope_parameters") or {}
    if "mrope_section" in rope:
        rope["mrope_section"] = [part * scale.head_dim // head for part in rope["mrope_section"]]


def _scale_vision(vision_config: dict, scale: ScaledConfig, hidden_size: int) -> None:
    vision_config |= {
        "hidden_size": hidden_size,
        "depth" if "depth" in vision_config else "num_hidden_layers": scale.num_layers,
    }
    vision_config["num_heads" if "num_heads" in vision_config else "num_attention_heads"] = scale.num_heads
    for key in ("embed_dim", "out_hidden_size"):
        if key in vision_config:
            vision_config[key] = hidden_size
    if "intermediate_size" in vision_config:
        vision_config["intermediate_size"] = 2 * hidden_size
    if "fullatt_block_indexes" in vision_config:
        vision_config["fullatt_block_indexes"] = [scale.num_layers - 1]
    if "deepstack_visual_indexes" in vision_config:
        vision_config["deepstack_visual_indexes"] = [0] if scale.num_layers > 1 else []  # never behind the last layer


def _scale_audio(audio_config: dict, scale: ScaledConfig, hidden_size: int) -> None:
    for keys, value in (
        (("d_model", "hidden_size"), hidden_size),
        (("encoder_layers", "num_hidden_layers"), scale.num_layers),
        (("encoder_attention_heads", "num_attention_heads"), scale.num_heads),
        (("encoder_ffn_dim", "intermediate_size"), 2 * hidden_size),
    ):
        audio_config |= {key: value for key in keys if key in audio_config}
    if scale.audio_window_seconds:
        audio_config["max_source_positions"] = scale.audio_window_seconds * 50  # a position is 20 ms
    if "output_dim" in audio_config:
        audio_config["output_dim"] = hidden_size


def _remap_token_ids(config: dict, id_map: dict[int, int]) -> None:
    for key, value in config.items():
        if key in ("text_config", "vision_config", "audio_config") and value:
            _remap_token_ids(value, id_map)
        elif key.endswith(("_token_id", "_token_index")) and value in id_map:
            config[key] = id_map[value]


def count_parameters(name: str) -> int:
    """Number of parameters of the real configuration, counted on the meta device (no memory is taken)."""
    with torch.device("meta"):
        model = get_model_class(name).model_class(build_config(name))
    return sum(p.numel() for p in model.parameters())


def build_model(
    name: str,
    device: str = "cpu",
    dtype: str = "bfloat16",
    *,
    seed: int = 0,
    scale: ScaledConfig | None = None,
    texts: Sequence[str] | None = None,
) -> LanguageModel:
    """A model of the family, ready to answer, with transformers' own random initialisation on `device`."""
    kind = get_model_class(name)
    words = build_tokenizer(name, texts, scale)
    config = build_config(name, scale, words)
    torch.manual_seed(seed)
    with torch.device(device):
        model = kind.model_class._from_config(copy.deepcopy(config), dtype=getattr(torch, dtype))
    model.generation_config = GenerationConfig(
        **json.loads((CONFIG_DIR / name / "generation_config.json").read_text())
        | {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id, "bos_token_id": words.pad_token_id}
    )
    return kind(model, build_processor(name, words, scale), device)


def save_checkpoint(model: LanguageModel, folder: str | os.PathLike, max_shard_size: str = "5GB") -> None:
    """Write the checkpoint as the model hub has it: safetensors in shards of `shard` at most, and the processor."""
    model.model.save_pretrained(folder, max_shard_size=max_shard_size)
    model.processor.save_pretrained(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write a checkpoint of random weights."""
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.models.random_init",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=CONFIG_FAMILIES, help="which configuration")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the checkpoint's folder; it must not exist yet")
    parser.add_argument("--layers", type=int, help="scaled down: this many layers in each part")
    parser.add_argument("--heads", type=int, help="scaled down: this many heads of 32 in each part")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="where the weights are drawn (default: the GPU where there is one)")
    given = parser.parse_args(argv)
    if Path(given.out).exists():
        parser.error(f"{given.out} exists already: remove it or name another folder")
    smaller = {k: v for k, v in (("num_layers", given.layers), ("num_heads", given.heads)) if v}
    scale = ScaledConfig(**smaller) if smaller else None
    model = build_model(
        given.name, given.device or device.select_device(), given.dtype, seed=given.seed, scale=scale
    )
    save_checkpoint(model, given.out)
    count = sum(p.numel() for p in model.model.parameters())
    print(f"{given.out}: {given.name} of {count / 1e9:.2f} billion random parameters")


if __name__ == "__main__":
    main()
