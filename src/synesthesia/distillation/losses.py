"""The two losses of the paper, on the answer position alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def letter_cross_entropy(logits: torch.Tensor, tokens: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Sum over the taught clips of the cross-entropy of saying the letter's token, over the whole vocabulary.

    logits: float32 (clips, vocabulary); tokens: int64 (clips,); taught: bool (clips,).
    """
    if not taught.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[taught], tokens[taught], reduction="sum")


def letter_divergence(
    student: torch.Tensor, teacher: torch.Tensor, soft: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Sum over the soft clips of T^2 KL(teacher || student) over the letters, both at temperature T.

    The letters are the support that teacher and student share whatever their vocabularies, renormalised on both
    sides; T^2 keeps the gradient's size comparable across temperatures (Hinton et al. 2015, section 2).
    student, teacher: float32 (clips, letters), -inf where a question has fewer options; soft: bool (clips,).
    """
    if not soft.any():
        return student.sum() * 0
    out = torch.isneginf(teacher[soft])
    log_student = F.log_softmax((student[soft] / temperature).masked_fill(out, -1e30), dim=-1)
    log_teacher = F.log_softmax((teacher[soft] / temperature).masked_fill(out, -1e30), dim=-1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
