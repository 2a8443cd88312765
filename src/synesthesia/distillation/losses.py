"""The two losses of the paper, on the answer position alone. Neither looks at a value: the GPU is never waited for."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def letter_cross_entropy(logits: torch.Tensor, target_ids: torch.Tensor, label_mask: torch.Tensor) -> torch.Tensor:
    """Sum over the taught clips of the cross-entropy of saying the letter's token, over the whole vocabulary.

    logits: float32 (clips, vocabulary); tokens: int64 (clips,), any token where not taught; taught: bool (clips,).
    """
    each = F.cross_entropy(logits, target_ids, reduction="none")
    return torch.where(label_mask, each, 0.0).sum()


def kl_divergence(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, kl_mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Sum over the soft clips of T^2 KL(teacher || student) over some tokens' logits, both at temperature T.

    The tokens are ones that teacher and student share whatever their vocabularies (the letters, or the teacher's
    likeliest), renormalised on both sides; T^2 keeps the gradient's size comparable across temperatures (Hinton et al.
    2015, section 2). student, teacher: float32 (clips, tokens), teacher -inf where a clip has fewer; soft: bool
    (clips,).
    """
    beyond = torch.isneginf(teacher_logits)
    log_student = F.log_softmax((student_logits / temperature).masked_fill(beyond, -1e30), dim=-1)
    log_teacher = F.log_softmax((teacher_logits / temperature).masked_fill(beyond, -1e30), dim=-1)
    each = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)
    return temperature**2 * torch.where(kl_mask, each, 0.0).sum()
