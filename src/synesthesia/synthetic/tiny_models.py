"""Tiny models: transformers' classes of the paper's LLMs with a million parameters each, around one shared Qwen2.

A Qwen2 of 3 layers, 128 wide, is the size that learned the ten-option question in our measurements. The encoders get a
10-second clip as 200 mel frames (50 audio tokens) and ten frames of at most 9,408 pixels (at most 60 video tokens).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,  # pyright: ignore[reportAttributeAccessIssue] -- transformers exports it lazily
    WhisperFeatureExtractor,
)

MEL_BINS, HOP_LENGTH, CLIP_SECONDS, SAMPLE_RATE = 64, 800, 10, 16000
MEL_FRAMES = CLIP_SECONDS * SAMPLE_RATE // HOP_LENGTH
MAX_PIXELS = 9408
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_bos|>",
    "<|AUDIO|>",
    "<|audio_eos|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
]
OMNI_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}VIDEO{% elif c['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHAT_TEMPLATES = {
    "qwen2-audio": CHAT_TEMPLATE.replace("VIDEO", ""),
    "qwen2-vl": CHAT_TEMPLATE.replace("VIDEO", "<|vision_start|><|video_pad|><|vision_end|>"),
    "qwen2.5-omni": CHAT_TEMPLATE.replace("VIDEO", "<|vision_bos|><|VIDEO|><|vision_eos|>"),
}
TEXT_CONFIG = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
ROPE_PARAMETERS = {"rope_type": "default", "rope_theta": 10000.0}
MROPE_PARAMETERS = {**ROPE_PARAMETERS, "mrope_section": [4, 6, 6]}  # sums to half a head, as Qwen2-VL's 16, 24, 24
AUDIO_CONFIG = {"d_model": 128, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 384}


def train_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Train a small byte-level BPE in Qwen2's tokenizer class, large enough for about one token per word.

    The special tokens are part of the vocabulary itself, so that ids are equal with and without Omni's names.

    Args:
        texts: Training texts.

    Returns:
        The tokenizer.
    """
    bpe = Tokenizer(models.BPE())
    qwen = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[])
    bpe.pre_tokenizer = qwen.backend_tokenizer.pre_tokenizer
    bpe.normalizer = qwen.backend_tokenizer.normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=sorted(alphabet), show_progress=False)
    bpe.train_from_iterator([*texts, "user\n", "assistant\n"], trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab = model["vocab"]
    vocab |= {special: len(vocab) + i for i, special in enumerate(SPECIAL_TOKENS)}
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in model["merges"]]
    return _build_tokenizer(vocab, merges, {})


def _build_tokenizer(
    vocab: dict[str, int], merges: list[tuple[str, ...]], extra_special_tokens: dict[str, str]
) -> Qwen2Tokenizer:
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=cast("list[str]", merges),  # pairs, which transformers accepts besides strings
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=extra_special_tokens,
    )
    tokenizer.add_tokens([AddedToken(s, special=True) for s in SPECIAL_TOKENS], special_tokens=True)
    return tokenizer


def _build_omni_tokenizer(tokenizer: Qwen2Tokenizer) -> Qwen2Tokenizer:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return _build_tokenizer(model["vocab"], [tuple(m) for m in model["merges"]], OMNI_TOKENS)


def build_processor(name: str, tokenizer: Qwen2Tokenizer) -> ProcessorMixin:
    """Build a family's processor with the tiny models' tokenizer, mel features and frame size.

    Args:
        name: Key of `CHAT_TEMPLATES`.
        tokenizer: Tokenizer of `train_tokenizer`.

    Returns:
        The processor.
    """
    feature_extractor = WhisperFeatureExtractor(
        feature_size=MEL_BINS, sampling_rate=SAMPLE_RATE, hop_length=HOP_LENGTH, chunk_length=CLIP_SECONDS, n_fft=1024
    )
    size = {"shortest_edge": 28 * 28, "longest_edge": MAX_PIXELS}
    image_processor, video_processor = Qwen2VLImageProcessor(size=size), Qwen2VLVideoProcessor(size=size)
    if name == "qwen2-audio":
        return Qwen2AudioProcessor(
            feature_extractor=feature_extractor, tokenizer=tokenizer, chat_template=CHAT_TEMPLATES[name]
        )
    if name == "qwen2-vl":
        return Qwen2VLProcessor(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=video_processor,
            chat_template=CHAT_TEMPLATES[name],
        )
    return Qwen2_5OmniProcessor(
        image_processor=image_processor,
        video_processor=video_processor,
        feature_extractor=feature_extractor,
        tokenizer=_build_omni_tokenizer(tokenizer),
        chat_template=CHAT_TEMPLATES[name],
    )


def build_shared_lm(tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    """Build the shared Qwen2 with random weights.

    Args:
        tokenizer: Tokenizer of `train_tokenizer`.

    Returns:
        The language model.
    """
    return Qwen2ForCausalLM(Qwen2Config(**TEXT_CONFIG, **_vocab_config(tokenizer), rope_parameters=ROPE_PARAMETERS))


def build_model(name: str, tokenizer: Qwen2Tokenizer) -> PreTrainedModel:
    """Build a tiny model of a family with random weights.

    Args:
        name: Key of `CHAT_TEMPLATES`.
        tokenizer: Tokenizer of `train_tokenizer`.

    Returns:
        The model; `copy_shared_lm` replaces its language model.
    """
    ids = {s: cast("int", tokenizer.convert_tokens_to_ids(s)) for s in SPECIAL_TOKENS}
    vocab_config = _vocab_config(tokenizer)
    if name == "qwen2-audio":
        audio = {**AUDIO_CONFIG, "num_mel_bins": MEL_BINS, "max_source_positions": MEL_FRAMES // 2}
        return Qwen2AudioForConditionalGeneration(
            Qwen2AudioConfig(
                audio_config={"model_type": "qwen2_audio_encoder", **audio},
                text_config={"model_type": "qwen2", **TEXT_CONFIG, **vocab_config, "rope_parameters": ROPE_PARAMETERS},
                audio_token_index=ids["<|AUDIO|>"],
            )
        )
    vision = {"depth": 3, "num_heads": 4, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if name == "qwen2-vl":
        return Qwen2VLForConditionalGeneration(
            Qwen2VLConfig(
                text_config={**TEXT_CONFIG, **vocab_config, "rope_parameters": MROPE_PARAMETERS},
                vision_config={**vision, "embed_dim": 96, "hidden_size": 128, "mlp_ratio": 3},
                image_token_id=ids["<|image_pad|>"],
                video_token_id=ids["<|video_pad|>"],
                vision_start_token_id=ids["<|vision_start|>"],
                vision_end_token_id=ids["<|vision_end|>"],
            )
        )
    # extra attributes of the configuration, which get_rope_index reads
    vision_ids: dict[str, Any] = {
        "vision_start_token_id": ids["<|vision_bos|>"],
        "vision_end_token_id": ids["<|vision_eos|>"],
    }
    return Qwen2_5OmniThinkerForConditionalGeneration(
        Qwen2_5OmniThinkerConfig(
            text_config={**TEXT_CONFIG, **vocab_config, "rope_parameters": MROPE_PARAMETERS},
            audio_config={
                **AUDIO_CONFIG,
                "num_mel_bins": MEL_BINS,
                "max_source_positions": MEL_FRAMES // 2,
                "n_window": MEL_FRAMES // 2,
                "output_dim": TEXT_CONFIG["hidden_size"],
            },
            vision_config={
                **vision,
                "hidden_size": 96,
                "out_hidden_size": TEXT_CONFIG["hidden_size"],
                "intermediate_size": 288,
                "fullatt_block_indexes": [0, 1, 2],
            },
            audio_token_index=ids["<|AUDIO|>"],
            image_token_index=ids["<|IMAGE|>"],
            video_token_index=ids["<|VIDEO|>"],
            audio_start_token_id=ids["<|audio_bos|>"],
            audio_end_token_id=ids["<|audio_eos|>"],
            position_id_per_seconds=5,
            **vision_ids,
        )
    )


def copy_shared_lm(shared_lm: Qwen2ForCausalLM, model: PreTrainedModel) -> None:
    """Copy layers, embeddings and head of the shared Qwen2 into a tiny model.

    Args:
        shared_lm: Source.
        model: Destination, changed in place.
    """
    destination: Any = model
    decoder = destination.model
    if hasattr(decoder, "language_model"):
        decoder = decoder.language_model
    decoder.load_state_dict(shared_lm.model.state_dict())
    destination.lm_head.load_state_dict(shared_lm.lm_head.state_dict())


def save_model(name: str, model: PreTrainedModel, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Write model and processor in Hugging Face format.

    Args:
        name: Key of `CHAT_TEMPLATES`.
        model: Model to save.
        tokenizer: Tokenizer of `train_tokenizer`.
        folder: Destination folder.
    """
    model.save_pretrained(folder)
    build_processor(name, tokenizer).save_pretrained(folder)
    (Path(folder) / "model.safetensors").chmod(0o644)


def _vocab_config(tokenizer: Qwen2Tokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
