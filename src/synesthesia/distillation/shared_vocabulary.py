"""Which token ids mean the same to teacher and student: the support of a divergence beyond the letters."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from synesthesia.models import ModelError


def find_shared_token_ids(teacher_checkpoint: str | Path, student_checkpoint: str | Path) -> set[int]:
    """Ids under which both checkpoints' vocabularies have the same token; only the tokenizers are loaded.

    Raises ModelError where a folder has no tokenizer that can be read.
    """
    one, other = (_load_vocabulary(Path(folder)) for folder in (teacher_checkpoint, student_checkpoint))
    return {number for token, number in one.items() if other.get(token) == number}


def _load_vocabulary(folder: Path) -> dict[str, int]:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be read: {error}") from None
