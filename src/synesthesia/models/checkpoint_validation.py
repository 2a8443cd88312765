"""What is wrong with a checkpoint, said in one sentence and before billions of weights are read.

Looks at the headers of its safetensors files (a few kilobytes each), then at what the vocabulary and the model's
configuration say of each other, which transformers does not compare: it would embed another token, or run on the GPU
into an index error without a name.
"""

from __future__ import annotations

import json
from pathlib import Path

SINGLE_FILE, SHARD_INDEX = "model.safetensors", "model.safetensors.index.json"
FLOAT_DTYPES = ("F32", "BF16", "F16")
MAX_HEADER_BYTES = 100_000_000  # bytes, as the safetensors library has it


class CheckpointError(ValueError):
    """A file of the checkpoint that cannot be used; the message names the file."""


def validate(folder: Path) -> None:
    """Check that all weights are there, whole and of a floating type; raise Damaged naming the first that is not."""
    if (folder / SHARD_INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / SHARD_INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{SHARD_INDEX} is damaged ({error})") from None
        lacking = [name for name in names if not (folder / name).is_file()]
        if lacking:
            raise CheckpointError(
                f"the checkpoint lacks {', '.join(lacking)}, which {SHARD_INDEX} names: download it again"
            )
    elif (folder / SINGLE_FILE).is_file():
        names = [SINGLE_FILE]
    else:
        raise CheckpointError(
            f"there are no weights: neither {SINGLE_FILE} nor {SHARD_INDEX} (only safetensors are read)"
        )
    for name in names:
        _validate_file(folder / name)


def _validate_file(path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise CheckpointError(
                f"{path.name} is a Git LFS pointer, not the weights: run `git lfs pull` where it came from"
            )
        length = int.from_bytes(start, "little")
        header = stream.read(length) if length <= min(size, MAX_HEADER_BYTES) else b""
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
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
                "take the checkpoint in float32, bfloat16 or float16"
            )


def validate_vocabulary(model, processor) -> None:
    """Check that each token has an embedding and that each placeholder is the model's own; raise Damaged otherwise."""
    tokenizer, rows = processor.tokenizer, model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise CheckpointError(
            f"the vocabulary has the id {largest}, but the model has {rows} embeddings: tokenizer and weights are of "
            "different models"
        )
    for sense in ("audio", "image", "video"):
        token = getattr(processor, f"{sense}_token", None)
        keys = (f"{sense}_token_id", f"{sense}_token_index")
        said = next((getattr(model.config, key) for key in keys if getattr(model.config, key, None) is not None), None)
        if isinstance(token, str) and said is not None and (found := tokenizer.convert_tokens_to_ids(token)) != said:
            raise CheckpointError(
                f"{token!r} is {found} in the vocabulary and {said} in config.json: tokenizer and configuration are of "
                "different models"
            )
