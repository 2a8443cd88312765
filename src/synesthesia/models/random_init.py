"""The paper's models at their published configuration with random weights; nothing is downloaded.

For speed and memory benchmarks and rehearsals of the paper preset, and scaled down for tests. The configurations are
data under `configurations/` (the README names their sources). The tokenizer is a byte-level BPE in Qwen's order (so
that `A` is 32), with merges trained on `texts` and the special tokens at their published ids.

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
from typing import Any

import torch
from tokenizers import Tokenizer, trainers
from tokenizers import models as tokenizer_models
from transformers import (
    AddedToken,
    GenerationConfig,
    PreTrainedConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    VideoLlama3ImageProcessor,
    VideoLlama3VideoProcessor,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from synesthesia.models import ModelError, model_class
from synesthesia.models.base import LanguageModel
from synesthesia.questions.prompt import format_prompt
from synesthesia.utils.device import select_device

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
    """A scaled-down model of the same architecture.

    Attributes:
        num_layers: Layers of the language model and of each encoder.
        num_heads: Attention heads, likewise.
        head_dim: Width of a head.
        use_full_vocab: False removes the unused ids between trained and special tokens; None keeps the published
            vocabulary size.
        audio_window_seconds: Audio window instead of the encoder's own 30 s (Audio Flamingo 3 computes all of it); None
            keeps it.
    """

    num_layers: int = 2
    num_heads: int = 2
    head_dim: int = 32
    use_full_vocab: bool | None = None
    audio_window_seconds: int | None = None


def get_model_class(name: str) -> type[LanguageModel]:
    """Import the family class of a configuration.

    Args:
        name: A key of `CONFIG_FAMILIES`.

    Returns:
        The subclass of `LanguageModel`.

    Raises:
        ModelError: The configuration is unknown.
    """
    if name not in CONFIG_FAMILIES:
        raise ModelError(f"configuration {name!r} is not known; known: {', '.join(CONFIG_FAMILIES)}")
    return model_class(CONFIG_FAMILIES[name])


def load_special_tokens(name: str) -> dict[str, int]:
    """Return the special tokens and their ids in the published vocabulary."""
    return json.loads((CONFIG_DIR / name / "added_tokens.json").read_text())


def build_tokenizer(name: str, texts: Iterable[str] | None = None, scale: ScaledConfig | None = None) -> Qwen2Tokenizer:
    """Train a Qwen2 tokenizer: bytes 0 to 255 in Qwen's order, then merges trained on `texts`.

    Ids between the merges and the special tokens get tokens that occur in no text.

    Args:
        name: A key of `CONFIG_FAMILIES`, for the special tokens.
        texts: Training texts; None: questions about the sounds in `DEFAULT_LABELS`.
        scale: See `ScaledConfig.use_full_vocab`.

    Returns:
        The tokenizer.
    """
    texts = list(texts or [format_prompt(DEFAULT_LABELS[i : i + 10]) for i in range(0, 15)])
    qwen: Any = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[])
    bpe: Any = Tokenizer(tokenizer_models.BPE())
    bpe.pre_tokenizer, bpe.normalizer = qwen.backend_tokenizer.pre_tokenizer, qwen.backend_tokenizer.normalizer
    alphabet = list(bytes_to_unicode().values())
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([*texts, "system\nYou are a helpful assistant.", "user\n", "assistant\n"], trainer)
    trained_merges = json.loads(bpe.to_str())["model"]["merges"]
    merges: Any = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in trained_merges]
    vocab = {symbol: i for i, symbol in enumerate(alphabet)}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    special_tokens = load_special_tokens(name)
    if scale and scale.use_full_vocab is False:
        special_tokens = {token: len(vocab) + i for i, token in enumerate(special_tokens)}
    special_ids = set(special_tokens.values())
    vocab |= {f"Ġunused{i}": i for i in range(len(vocab), max(special_ids)) if i not in special_ids} | special_tokens
    extra_special_tokens = OMNI_SPECIAL_TOKENS if "<|VIDEO|>" in special_tokens else {}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=extra_special_tokens,
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special_tokens], special_tokens=True)
    return tokenizer


def build_processor(name: str, tokenizer: Qwen2Tokenizer, scale: ScaledConfig | None = None) -> Any:
    """Build the family's processor with the configuration's features, pixel limits and chat template.

    Args:
        name: A key of `CONFIG_FAMILIES`.
        tokenizer: The tokenizer (`build_tokenizer`).
        scale: See `ScaledConfig.audio_window_seconds`.

    Returns:
        A processor of transformers.
    """
    processor_class = get_model_class(name).processor_class
    values = json.loads((CONFIG_DIR / name / "preprocessor_config.json").read_text())
    parts: dict = {"tokenizer": tokenizer, "chat_template": (CONFIG_DIR / name / "chat_template.jinja").read_text()}
    if "feature_extractor_type" in values:
        values["chunk_length"] = (scale and scale.audio_window_seconds) or values["chunk_length"]
        keys = ("chunk_length", "feature_size", "hop_length", "n_fft", "padding_value", "sampling_rate")
        parts["feature_extractor"] = WhisperFeatureExtractor(**{k: values[k] for k in keys}, return_attention_mask=True)
    if "image_processor_type" in values:
        prefixes = ("image_m", "image_s", "patch", "temporal", "merge")
        kwargs = {k: v for k, v in values.items() if k.startswith(prefixes)}
        size = {"shortest_edge": values["min_pixels"], "longest_edge": values["max_pixels"]}
        image_class: Any = Qwen2VLImageProcessor
        video_class: Any = Qwen2VLVideoProcessor
        if values["image_processor_type"].startswith("VideoLlama3"):
            image_class, video_class = VideoLlama3ImageProcessor, VideoLlama3VideoProcessor
        if processor_class is Qwen3VLProcessor:
            video_class = Qwen3VLVideoProcessor
        parts["image_processor"] = image_class(size=dict(size), **kwargs)
        parts["video_processor"] = video_class(size=dict(size), **kwargs)
    return processor_class(**parts)


def build_config(
    name: str, scale: ScaledConfig | None = None, tokenizer: Qwen2Tokenizer | None = None
) -> PreTrainedConfig:
    """Build the published configuration, or a scaled-down one.

    Args:
        name: A key of `CONFIG_FAMILIES`.
        scale: The sizes of a scaled-down model; None keeps the published ones.
        tokenizer: The tokenizer of a scaled-down model, whose ids the configuration gets; None trains one.

    Returns:
        A configuration of transformers.
    """
    config_class = get_model_class(name).model_class.config_class
    config = config_class.from_dict(json.loads((CONFIG_DIR / name / "config.json").read_text()))
    if scale is None:
        return config
    values = config.to_dict()
    hidden_size = scale.num_heads * scale.head_dim
    _scale_text(values["text_config"], scale, hidden_size)
    if values.get("vision_config"):
        _scale_vision(values["vision_config"], scale, hidden_size)
    if values.get("audio_config"):
        _scale_audio(values["audio_config"], scale, hidden_size)
    if scale.use_full_vocab is False:
        tokenizer = tokenizer or build_tokenizer(name, scale=scale)
        new_ids: Any = tokenizer.convert_tokens_to_ids
        _remap_token_ids(values, {old_id: new_ids(token) for token, old_id in load_special_tokens(name).items()})
        values["text_config"]["vocab_size"] = len(tokenizer)
        if "vocab_size" in values:
            values["vocab_size"] = len(tokenizer)
    return config_class.from_dict(values)


def _scale_text(text_config: dict, scale: ScaledConfig, hidden_size: int) -> None:
    text_config.pop("layer_types", None)
    num_heads = text_config["num_attention_heads"]
    queries_per_key = num_heads // (text_config["num_key_value_heads"] or num_heads)
    head_dim = text_config["hidden_size"] // num_heads
    text_config |= {
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": scale.num_layers,
        "num_attention_heads": scale.num_heads,
        "num_key_value_heads": max(1, scale.num_heads // queries_per_key),
        "max_window_layers": scale.num_layers,
    }
    if text_config.get("head_dim"):
        text_config["head_dim"] = scale.head_dim
    rope = text_config.get("rope_parameters") or {}
    if "mrope_section" in rope:
        rope["mrope_section"] = [section * scale.head_dim // head_dim for section in rope["mrope_section"]]


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
        vision_config["deepstack_visual_indexes"] = [0] if scale.num_layers > 1 else []  # never after the last layer


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
    """Count the parameters of the published configuration on the meta device, which allocates no memory."""
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
    """Build a model with transformers' own random initialization.

    Args:
        name: A key of `CONFIG_FAMILIES`.
        device: Device on which the weights are drawn.
        dtype: `float32` or `bfloat16`.
        seed: Seed of the weights.
        scale: The sizes of a scaled-down model; None keeps the published ones.
        texts: Training texts of the tokenizer; see `build_tokenizer`.

    Returns:
        The model in evaluation mode, without any speed-up.
    """
    family = get_model_class(name)
    tokenizer = build_tokenizer(name, texts, scale)
    config = build_config(name, scale, tokenizer)
    torch.manual_seed(seed)
    with torch.device(device):
        model = family.model_class._from_config(copy.deepcopy(config), dtype=getattr(torch, dtype))
    token_ids = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
    }
    model.generation_config = GenerationConfig(
        **json.loads((CONFIG_DIR / name / "generation_config.json").read_text()) | token_ids
    )
    return family(model, build_processor(name, tokenizer, scale), device)


def save_checkpoint(model: LanguageModel, folder: str | os.PathLike, max_shard_size: str = "5GB") -> None:
    """Write a checkpoint as on the model hub: safetensors in shards, and the processor.

    Args:
        model: The model to save.
        folder: Folder of the checkpoint.
        max_shard_size: Maximum size of a shard, such as `5GB`.
    """
    model.model.save_pretrained(folder, max_shard_size=max_shard_size)
    model.processor.save_pretrained(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: write a checkpoint of random weights."""
    parser = argparse.ArgumentParser(
        prog="python -m synesthesia.models.random_init",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=CONFIG_FAMILIES, help="configuration to build")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the checkpoint; it must not exist")
    parser.add_argument("--layers", type=int, help="scale down: layers of the language model and of each encoder")
    parser.add_argument("--heads", type=int, help="scale down: attention heads of width 32, likewise")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="device on which the weights are drawn (default: the GPU, if any)")
    args = parser.parse_args(argv)
    if Path(args.out).exists():
        parser.error(f"{args.out} already exists: remove it or choose another folder")
    sizes = {k: v for k, v in (("num_layers", args.layers), ("num_heads", args.heads)) if v}
    scale = ScaledConfig(**sizes) if sizes else None
    model = build_model(args.name, args.device or select_device(), args.dtype, seed=args.seed, scale=scale)
    save_checkpoint(model, args.out)
    num_parameters = sum(p.numel() for p in model.model.parameters())
    print(f"{args.out}: {args.name} with {num_parameters / 1e9:.2f} billion random parameters")


if __name__ == "__main__":
    main()
