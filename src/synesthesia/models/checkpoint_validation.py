"""Checkpoint validation: errors name the file and the cause before billions of weights are read.

Reads the headers of the safetensors files (a few kilobytes each), then compares the vocabulary with the model's
configuration. transformers does not compare them: with a mismatch it embeds the wrong token, or fails on the GPU with
an index error that names nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SINGLE_FILE, SHARD_INDEX = "model.safetensors", "model.safetensors.index.json"
FLOAT_DTYPES = ("F32", "BF16", "F16")
MAX_HEADER_BYTES = 100_000_000  # limit of the safetensors library


class CheckpointError(ValueError):
    """A file of the checkpoint cannot be used; the message names the file."""


def validate(folder: Path) -> None:
    """Check that all weights exist, are complete, and have a floating-point dtype.

    Args:
        folder: A checkpoint in Hugging Face format.

    Raises:
        CheckpointError: For the first file that fails.
    """
    if (folder / SHARD_INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / SHARD_INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{SHARD_INDEX} is damaged ({error})") from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"the checkpoint lacks {', '.join(missing)}, which {SHARD_INDEX} names: download it again"
            )
    elif (folder / SINGLE_FILE).is_file():
        names = [SINGLE_FILE]
    else:
        raise CheckpointError(
            f"there are no weights: neither {SINGLE_FILE} nor {SHARD_INDEX} exists (other formats are not read)"
        )
    for name in names:
        _validate_file(folder / name)


def _validate_file(path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        if prefix == b"version ":
            raise CheckpointError(
                f"{path.name} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository"
            )
        header_length = int.from_bytes(prefix, "little")
        header = file.read(header_length) if header_length <= min(size, MAX_HEADER_BYTES) else b""
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        end = 8 + header_length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path.name} is truncated or damaged (its header cannot be read): download it again"
        ) from None
    if end != size:
        raise CheckpointError(
            f"{path.name} is truncated or damaged ({size:,} bytes instead of {end:,}): download it again"
        )
    for name, entry in tensors.items():
        if name.endswith(".weight") and entry.get("dtype") not in FLOAT_DTYPES:
            raise CheckpointError(
                f"weights of type {entry.get('dtype')}, such as {name} in {path.name}, are not supported: "
                "use the checkpoint in float32, bfloat16 or float16"
            )


def validate_vocabulary(model: Any, processor: Any) -> None:
    """Check that each token has an embedding and that the placeholders' ids match the model's configuration.

    Args:
        model: A model of transformers.
        processor: Its processor.

    Raises:
        CheckpointError: Tokenizer and model do not match.
    """
    tokenizer, num_embeddings = processor.tokenizer, model.get_input_embeddings().num_embeddings
    max_id = max(tokenizer.get_vocab().values())
    if max_id >= num_embeddings:
        raise CheckpointError(
            f"the vocabulary has the id {max_id}, but the model has {num_embeddings} embeddings: tokenizer and weights "
            "are of different models"
        )
    for modality in ("audio", "image", "video"):
        token = getattr(processor, f"{modality}_token", None)
        values = (getattr(model.config, f"{modality}_token_{suffix}", None) for suffix in ("id", "index"))
        expected = next((value for value in values if value is not None), None)
        if not isinstance(token, str) or expected is None:
            continue
        token_id = tokenizer.convert_tokens_to_ids(token)
        if token_id != expected:
            raise CheckpointError(
                f"{token!r} is {token_id} in the vocabulary and {expected} in config.json: tokenizer and configuration "
                "are of different models"
            )
