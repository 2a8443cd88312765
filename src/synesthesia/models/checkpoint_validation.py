"""What is wrong with a checkpoint, said in one sentence and before billions of weights are read.

Looks at the headers of its safetensors files (a few kilobytes each), then at what the vocabulary and the model's
configuration say of each other, which transformers does not compare: it would embed another token, or run on the GPU
into an index error without a name.
"""

from __future__ import annotations

import json
from pathlib import Path

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F32", "BF16", "F16")
LARGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it


class Damaged(ValueError):
    """A file of the checkpoint that cannot be used; the message names the file."""


def inspect(folder: Path) -> None:
    """Check that all weights are there, whole and of a floating type; raise Damaged naming the first that is not."""
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise Damaged(f"{INDEX} is damaged ({error})") from None
        lacking = [name for name in names if not (folder / name).is_file()]
        if lacking:
            raise Damaged(f"the checkpoint lacks {', '.join(lacking)}, which {INDEX} names: download it again")
    elif (folder / WHOLE).is_file():
        names = [WHOLE]
    else:
        raise Damaged(f"there are no weights: neither {WHOLE} nor {INDEX} (only safetensors are read)")
    for name in names:
        _inspect_file(folder / name)


def _inspect_file(file: Path) -> None:
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise Damaged(f"{file.name} is a Git LFS pointer, not the weights: run `git lfs pull` where it came from")
        length = int.from_bytes(start, "little")
        header = stream.read(length) if length <= min(size, LARGEST_HEADER) else b""
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{file.name} is truncated or damaged (its header cannot be read): download it again") from None
    if end != size:
        raise Damaged(f"{file.name} is truncated or damaged ({size:,} bytes instead of {end:,}): download it again")
    for name, entry in tensors.items():
        if name.endswith(".weight") and entry.get("dtype") not in FLOATS:
            raise Damaged(
                f"weights of type {entry.get('dtype')}, such as {name} in {file.name}, are not supported: "
                "take the checkpoint in float32, bfloat16 or float16"
            )


def compare_vocabulary(model, processor) -> None:
    """Check that each token has an embedding and that each placeholder is the model's own; raise Damaged otherwise."""
    tokenizer, rows = processor.tokenizer, model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise Damaged(
            f"the vocabulary has the id {largest}, but the model has {rows} embeddings: tokenizer and weights are of "
            "different models"
        )
    for sense in ("audio", "image", "video"):
        token = getattr(processor, f"{sense}_token", None)
        keys = (f"{sense}_token_id", f"{sense}_token_index")
        said = next((getattr(model.config, key) for key in keys if getattr(model.config, key, None) is not None), None)
        if isinstance(token, str) and said is not None and (found := tokenizer.convert_tokens_to_ids(token)) != said:
            raise Damaged(
                f"{token!r} is {found} in the vocabulary and {said} in config.json: tokenizer and configuration are of "
                "different models"
            )
