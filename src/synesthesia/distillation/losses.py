"""The two losses of the paper, at the answer position alone.

They never read a value on the CPU, so they never wait for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F


def letter_cross_entropy(logits: torch.Tensor, target_ids: torch.Tensor, label_mask: torch.Tensor) -> torch.Tensor:
    """Sum the cross-entropy of the target letter's token, over the whole vocabulary, over the labeled clips.

    Args:
        logits: float32 (clips, vocabulary).
        target_ids: int64 (clips,), token ids; any token where `label_mask` is false.
        label_mask: bool (clips,), whether the clip has a label.

    Returns:
        A scalar, float32.
    """
    losses = F.cross_entropy(logits, target_ids, reduction="none")
    return torch.where(label_mask, losses, 0.0).sum()


def kl_divergence(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, kl_mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Sum T^2 KL(teacher || student) at temperature T over the clips whose teacher logits are matched.

    The tokens are ones that both models share whatever their vocabularies: the letters, or the teacher's top-k tokens.
    Both distributions are renormalized over them. T^2 keeps the size of the gradient comparable across temperatures
    (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2).

    Args:
        student_logits: float32 (clips, tokens).
        teacher_logits: float32 (clips, tokens), -inf where a clip has fewer tokens.
        kl_mask: bool (clips,), whether the teacher's logits are matched.
        temperature: T, above 0.

    Returns:
        A scalar, float32.
    """
    is_padding = torch.isneginf(teacher_logits)
    log_student = F.log_softmax((student_logits / temperature).masked_fill(is_padding, -1e30), dim=-1)
    log_teacher = F.log_softmax((teacher_logits / temperature).masked_fill(is_padding, -1e30), dim=-1)
    losses = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)
    return temperature**2 * torch.where(kl_mask, losses, 0.0).sum()


def distillation_loss(
    logits: torch.Tensor,
    target_ids: torch.Tensor,
    label_mask: torch.Tensor,
    teacher_logits: torch.Tensor,
    token_ids: torch.Tensor,
    kl_mask: torch.Tensor,
    *,
    kl_weight: float,
    temperature: float,
    normalize: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute cross-entropy + kl_weight * KL divergence of a micro-batch (paper section 4.1).

    Args:
        logits: The student's, float32 (clips, vocabulary), at the answer positions.
        target_ids: int64 (clips,), see `letter_cross_entropy`.
        label_mask: bool (clips,), see `letter_cross_entropy`.
        teacher_logits: float32 (clips, tokens), see `kl_divergence`.
        token_ids: int64 (clips, tokens), the student's token ids of `teacher_logits`.
        kl_mask: bool (clips,), see `kl_divergence`.
        kl_weight: Weight of the KL divergence.
        temperature: Temperature of the KL divergence, above 0.
        normalize: Divides a sum over the micro-batch by the number of clips of the whole step.

    Returns:
        The loss, a float32 scalar, and its normalized parts without gradient, float32 (2,): cross-entropy and KL
        divergence.
    """
    cross_entropy = normalize(letter_cross_entropy(logits, target_ids, label_mask))
    student_logits = logits.gather(1, token_ids)
    kl = normalize(kl_divergence(student_logits, teacher_logits, kl_mask, temperature))
    return cross_entropy + kl_weight * kl, torch.stack([cross_entropy.detach(), kl.detach()])
