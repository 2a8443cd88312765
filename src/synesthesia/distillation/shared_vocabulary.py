"""Token ids that mean the same to teacher and student: the support of a KL divergence beyond the letters."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from synesthesia.models.errors import ModelError


def find_shared_token_ids(teacher_checkpoint: str | Path, student_checkpoint: str | Path) -> set[int]:
    """Find the ids under which both vocabularies have the same token. Loads the tokenizers alone.

    Args:
        teacher_checkpoint: The teacher's checkpoint folder.
        student_checkpoint: The student's checkpoint folder.

    Returns:
        The shared token ids.

    Raises:
        ModelError: A folder has no readable tokenizer.
    """
    teacher, student = (_load_vocabulary(Path(folder)) for folder in (teacher_checkpoint, student_checkpoint))
    return {token_id for token, token_id in teacher.items() if student.get(token) == token_id}


def _load_vocabulary(folder: Path) -> dict[str, int]:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be read: {error}") from None
